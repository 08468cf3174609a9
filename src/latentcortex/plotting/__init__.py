"""Draw arrays into matplotlib axes and into self-contained interactive HTML.

These functions only draw what was passed in. They compute nothing that a chapter would report.

======================  ============================================================
`image_grid`            rows of images
`roi_bars`              scores by region, every subject shown
`flatmap`, `inflated`   a value for each vertex, on cortex
`compared_flatmaps`     several of them on one scale, such as a map and its null
`two_dimensional_map`   two values for each vertex by one colour
`winner_map`            which of several is the best at each vertex, and how sure
`cortex_viewer`         a cortex to turn: maps, frames and cards of vertices to choose
`frame_slider`          frames to move through, in a static page as in a live one
`grid_slider`           frames of several settings, a slider for each
`linked_slider`         points, curves and pictures that one slider moves together
`identification_quiz`   which image was seen? readers against chance and rivals
`picture_composer`      pictures of all combinations of a few choices
`study_planner`         chances of studies that were simulated, by their design
`brain_quiz`            which of these needed a brain? readers against chance
`marked_images`         pictures whose parts are marked, and a box that hides the marks
`film`                  frames that run in a loop, until they are paused
`region_style`          colour, marker and line of a region, the same on all pages
`on_cortex`             these maps, or bars of regions where there is no surface
`use_distinct_colours`  lines in colours that all readers can tell apart
`typeset`               numbers of a text with minus signs and spaces as in print
======================  ============================================================
"""

from .bars import roi_bars
from .cards import VertexCards
from .compared import two_dimensional_map, winner_map
from .composer import picture_composer
from .film import film
from .images import image_grid
from .linked import Curves, Pictures, Points, linked_slider
from .maps import compared_flatmaps, flatmap, inflated
from .marked import marked_images
from .palettes import region_style, use_distinct_colours
from .planner import study_planner
from .quiz import brain_quiz, identification_quiz
from .sliders import frame_slider, grid_slider
from .viewer import VertexMap, cortex_viewer
from .without_cortex import on_cortex
from .words import typeset

__all__ = [
    "Curves",
    "Pictures",
    "Points",
    "VertexCards",
    "VertexMap",
    "brain_quiz",
    "compared_flatmaps",
    "cortex_viewer",
    "film",
    "flatmap",
    "frame_slider",
    "grid_slider",
    "identification_quiz",
    "image_grid",
    "inflated",
    "linked_slider",
    "marked_images",
    "on_cortex",
    "picture_composer",
    "region_style",
    "roi_bars",
    "study_planner",
    "two_dimensional_map",
    "typeset",
    "use_distinct_colours",
    "winner_map",
]
