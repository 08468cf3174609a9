"""Arrays to matplotlib axes and to self-contained interactive HTML.

Nothing is computed here that a chapter would report: what is drawn is what was passed in.

======================  ==========================================================
`image_grid`            rows of images
`roi_bars`              scores by region, every subject shown
`flatmap`, `inflated`   a value for each vertex, on cortex
`frame_slider`          frames to move through, in a static page as in a live one
======================  ==========================================================
"""

from .bars import roi_bars
from .images import frame_slider, image_grid
from .maps import flatmap, inflated

__all__ = ["flatmap", "frame_slider", "image_grid", "inflated", "roi_bars"]
