"""Data without a surface get bars of regions where the chapters draw maps, and the figure says so."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pytest

from latentcortex import plotting
from latentcortex.plotting import without_cortex

NAMES = ("flatmap", "compared_flatmaps", "inflated", "two_dimensional_map", "winner_map", "cortex_viewer")


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.fixture
def voxels():
    """Seven voxels: two of V1, three of ventral cortex (one without a value), two of no region."""
    values = np.array([1.0, 3.0, 5.0, 7.0, np.nan, 100.0, 200.0])[:, None, None]
    number = np.arange(7)[:, None, None]
    rois = {"V1": number < 2, "ventral": (number >= 2) & (number < 5), "lateral": number > 7}
    return values, rois


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def ticks(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


@pytest.mark.parametrize("space", ["fsaverage", "fsaverage5"])
def test_on_a_surface_nothing_changes(space):
    cortex = plotting.on_cortex(space)
    assert cortex.has_surface
    assert all(getattr(cortex, name) is getattr(plotting, name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bars_take_what_maps_take(name):
    of_map = inspect.signature(getattr(plotting, name)).parameters.values()
    of_bars = inspect.signature(getattr(plotting.on_cortex("func1pt8mm"), name)).parameters
    assert all(one.name in of_bars or one.kind is one.KEYWORD_ONLY for one in of_map)
    assert any(one.kind is one.VAR_KEYWORD for one in of_bars.values())


def test_bars_are_the_means_of_regions_and_say_why(voxels):
    values, rois = voxels
    cortex = plotting.on_cortex("func1pt8mm")
    assert not cortex.has_surface
    ax = cortex.flatmap(values, label="r", rois=rois, zoom=True, limits=(0, 1), centre=0)
    assert heights(ax) == [2.0, 6.0] and ticks(ax) == ["V1", "ventral"]
    assert without_cortex.NOTHING_TO_DRAW_ON in ax.get_xlabel() and "no values in lateral" in ax.get_xlabel()
    assert ax.get_ylabel() == "r"
    _, own = plt.subplots()
    assert cortex.flatmap(values, label="r", ax=own) is own
    assert heights(own) == [np.nanmean(values)] and ticks(own) == ["all voxels"]


def test_compared_maps_and_pairs_are_bars_side_by_side(voxels):
    values, rois = voxels
    cortex = plotting.on_cortex("func1pt8mm")
    axes = cortex.compared_flatmaps({"one": values, "null": 0 * values}, label="r", rois=rois)
    assert len(axes) == 2 and heights(axes[0]) == [2.0, 6.0, 0.0, 0.0]
    ax, _ = cortex.two_dimensional_map(values, -values, labels=("z", "c"), rois=rois, limits=((0, 1),) * 2)
    assert heights(ax) == [2.0, 6.0, -2.0, -6.0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["z", "c"]


def test_winners_are_counted_in_each_region(voxels):
    _, rois = voxels
    winners = np.array([0, 1, 1, 1, np.nan, 0, 0])[:, None, None]
    ax = plotting.on_cortex("func1pt8mm").winner_map(winners, ["down", "middle"], ordered=True, rois=rois)
    assert heights(ax) == [0.5, 0.0, 0.5, 1.0]  # the first name, then the second
    assert ax.get_ylabel() == "share of voxels won"
    with pytest.raises(ValueError, match="whole numbers from 0 to 0"):
        plotting.on_cortex("func1pt8mm").winner_map(winners, ["down"], rois=rois)


def test_the_viewer_becomes_a_picture_with_its_words(voxels, monkeypatch):
    values, rois = voxels
    drawn = []
    monkeypatch.setattr(without_cortex.plt, "close", drawn.append)
    views = {
        "gain": plotting.VertexMap(np.stack([values, 2 * values]), "gain (r)", frames=("0.1", "0.9")),
        "plain": plotting.VertexMap(values, "r"),
        "best": plotting.VertexMap(np.zeros((7, 1, 1)), "best", names=("a", "b")),
    }
    words = {"title": "z_c against z <1>", "alt": "Bars.", "frame_name": "share of noise", "first_frame": 1}
    page = plotting.on_cortex("func1pt8mm").cortex_viewer(views, rois=rois, cards=None, **words)
    assert "z_c against z &lt;1&gt;" in page.data and without_cortex.NOTHING_TO_DRAW_ON in page.data
    assert 'alt="Bars."' in page.data and "data:image/png;base64," in page.data
    gain, plain, best = drawn[0].axes
    assert [line.get_ydata().tolist() for line in gain.lines] == [[2.0, 4.0], [6.0, 12.0]]
    assert gain.get_xlabel().startswith("share of noise")
    assert heights(plain) == [2.0, 6.0] and heights(best) == [1.0, 1.0, 0.0, 0.0]


def test_values_that_are_all_missing_leave_an_empty_picture_that_says_so(voxels):
    values, rois = voxels
    ax = plotting.on_cortex("func1pt8mm").flatmap(np.full_like(values, np.nan), label="r", rois=rois)
    assert heights(ax) == [] and "no values in V1, lateral, ventral" in ax.get_xlabel()


def test_masks_of_another_space_and_infinite_values_are_refused(voxels):
    values, rois = voxels
    cortex = plotting.on_cortex("func1pt8mm")
    with pytest.raises(ValueError, match=r"V1: expected a mask of bool of the shape of the values, \(7,\)"):
        cortex.flatmap(values.ravel(), label="r", rois=rois)
    with pytest.raises(ValueError, match="1 of 7 are infinite"):
        cortex.flatmap(np.where(values == 1, np.inf, values), label="r", rois=rois)
    with pytest.raises(ValueError, match="expected two texts"):
        cortex.two_dimensional_map(values, values, labels="zc", rois=rois)
