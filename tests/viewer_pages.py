"""What the tests of the viewer share: maps, regions, and a reader of elements."""

from html.parser import HTMLParser

import numpy as np
from nilearn import datasets, surface

from latentcortex import plotting

N = 10_242
WORDS = {"title": "A map", "alt": "Values over both hemispheres."}


class Elements(HTMLParser):
    """The elements of a page with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def back_to_front():
    """How far behind the others each vertex of the pial surface lies, in mm (2 N)."""
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    return np.concatenate(
        [-surface.load_surf_mesh(files[f"pial_{side}"]).coordinates[:, 1] for side in ("left", "right")]
    )


def map_of():
    """Values that differ from vertex to vertex, in the back third of cortex only."""
    far = back_to_front()
    values = np.sin(np.arange(2 * N) / 300)
    return plotting.VertexMap(np.where(far > 40, values, np.nan), "r", cmap="viridis", limits=(-1, 1))


def some_regions():
    """Two regions, the second inside the first."""
    far = back_to_front()
    return {"back": far > 70, "pole": far > 90}
