"""Arrays to matplotlib axes and to self-contained interactive HTML.

Nothing is computed here that a chapter would report: what is drawn is what was passed in.

======================  ==========================================================
`image_grid`            rows of images
`roi_bars`              scores by region, every subject shown
`flatmap`, `inflated`   a value for each vertex, on cortex
`frame_slider`          frames to move through, in a static page as in a live one
`grid_slider`           frames of two settings, a slider for each
======================  ==========================================================
"""

from .bars import roi_bars
from .images import image_grid
from .maps import flatmap, inflated
from .sliders import frame_slider, grid_slider

__all__ = ["flatmap", "frame_slider", "grid_slider", "image_grid", "inflated", "roi_bars"]
