"""What is drawn is what was passed in, in its place."""

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from nilearn import datasets, surface

from latentcortex import plotting

N = 10_242


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)


def triangles(ax):
    return next(c for c in ax.collections if isinstance(c, PolyCollection))


def shown_colours(ax):
    """Face colours that are not the grey of the bare surface."""
    rgb = triangles(ax).get_facecolor()[:, :3]
    return rgb[np.ptp(rgb, axis=1) > 1e-6]


def test_image_grid_shows_every_pixel_in_its_place(images):
    small = images[:, :, ::2, ::2]
    axes = plotting.image_grid([images, small], ["seen", "drawn"], ["a", "b", "c"])
    assert axes.shape == (2, 3)
    for j in range(3):
        np.testing.assert_array_equal(axes[0, j].images[0].get_array(), images[j].transpose(1, 2, 0))
        np.testing.assert_array_equal(axes[1, j].images[0].get_array(), small[j].transpose(1, 2, 0))
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["seen", "drawn"]
    assert [ax.get_title() for ax in axes[0]] == ["a", "b", "c"]


def test_heads_of_narrow_columns_do_not_run_into_each_other():
    pictures = np.zeros((8, 3, 8, 8))
    axes = plotting.image_grid([pictures], ["seen"], [f"drawing {k}" for k in range(8)])
    axes[0, 0].figure.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in axes[0]]
    assert all(one.x1 < other.x0 for one, other in zip(boxes[:-1], boxes[1:], strict=True))


@pytest.mark.parametrize("bad", [255.0, np.nan], ids=["range 0..255", "NaN"])
def test_image_grid_guesses_no_range(images, bad):
    images[1, 0, 0, 0] = bad
    with pytest.raises(ValueError, match=r"row 0: expected values in \[0, 1\]"):
        plotting.image_grid([images])


def test_image_grid_names_what_is_unequal(images):
    with pytest.raises(ValueError, match=r"got \[3, 2\]"):
        plotting.image_grid([images, images[:2]])
    with pytest.raises(ValueError, match="Expected 1 row labels, got 2"):
        plotting.image_grid([images], ["seen", "drawn"])
    with pytest.raises(ValueError, match=r"\(n, 3, h, w\), got \(3, 8, 8, 3\)"):
        plotting.image_grid([images.transpose(0, 2, 3, 1)])


def test_roi_bars_are_means_and_every_subject_is_a_dot():
    scores = np.arange(24.0).reshape(2, 3, 4)
    intervals = np.stack([scores.min(axis=2), scores.max(axis=2)], axis=2)
    ax = plotting.roi_bars(
        scores,
        ["V1", "V2", "ventral"],
        label="r",
        condition_names=["z", "c"],
        intervals=intervals,
        chance=0.5,
    )
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], scores.mean(axis=2).ravel())
    dots = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 12]
    np.testing.assert_allclose([d[:, 1] for d in dots], scores.reshape(2, 12))
    # A dot stands over its own bar.
    for bars, d in zip(ax.containers, dots, strict=True):
        inside = [
            (b.get_x() < x).all() and (x < b.get_x() + b.get_width()).all()
            for b, x in zip(bars, d[:, 0].reshape(3, 4), strict=True)
        ]
        assert all(inside)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["V1", "V2", "ventral"]
    assert ax.get_ylabel() == "r"


def test_roi_bars_without_conditions_are_the_same_bars():
    scores = np.arange(12.0).reshape(3, 4)
    one = plotting.roi_bars(scores, list("abc"), label="r")
    two = plotting.roi_bars(scores[None], list("abc"), label="r", condition_names=["z"])
    assert [b.get_height() for b in one.patches] == [b.get_height() for b in two.patches]
    with pytest.raises(ValueError, match=r"got \(3, 4\) for 2 ROI names"):
        plotting.roi_bars(scores, ["a", "b"], label="r")


def test_left_values_colour_the_left_hemisphere_only():
    values = np.full(2 * N, np.nan)
    values[:N] = 1
    left, right = plotting.inflated(values, label="r")
    assert len(shown_colours(left)) == len(triangles(left).get_facecolor())
    assert len(shown_colours(right)) == 0
    assert left.get_title().startswith("left")


def test_flatmap_puts_left_on_the_left_and_occipital_poles_in_the_middle():
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    pial = [surface.load_surf_mesh(files[f"pial_{side}"]).coordinates for side in ("left", "right")]
    values = np.concatenate([np.where(xyz[:, 1] < -80, 1.0, np.nan) for xyz in pial])
    ax = plotting.flatmap(values, label="r", limits=(0, 1))
    left, right = (c for c in ax.collections if isinstance(c, PolyCollection))
    for collection, side in ((left, -1), (right, 1)):
        x = np.array([path.vertices[:3, 0].mean() for path in collection.get_paths()])
        coloured = np.ptp(collection.get_facecolor()[:, :3], axis=1) > 1e-6
        assert (np.sign(x) == side).all()
        assert coloured.any()
        assert np.abs(x[coloured]).mean() < np.abs(x[~coloured]).mean()


def test_a_triangle_has_the_colour_of_its_mean_and_the_bar_shares_the_scale():
    values = np.linspace(-1, 3, 2 * N)
    ax = plotting.flatmap(values, label="z minus c (r)", centre=0)
    bar = ax.figure.axes[1]
    assert bar.get_xlabel() == "z minus c (r)"
    assert bar.get_xlim() == (-3, 3)
    faces = surface.load_surf_mesh(datasets.fetch_surf_fsaverage("fsaverage5")["flat_left"]).faces
    expected = matplotlib.colormaps["RdBu_r"]((values[faces].mean(axis=1) + 3) / 6)
    np.testing.assert_allclose(triangles(ax).get_facecolor(), expected, atol=0.005)


def test_fsaverage_is_drawn_by_the_vertices_it_shares_with_fsaverage5():
    coarse = np.random.default_rng(0).random(2 * N)
    fine = np.full(2 * 163_842, 99.0)
    fine[:N], fine[163_842 : 163_842 + N] = coarse[:N], coarse[N:]
    a = plotting.inflated(coarse, label="r", limits=(0, 1))
    b = plotting.inflated(fine, label="r", limits=(0, 1))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(triangles(one).get_facecolor(), triangles(other).get_facecolor())


@pytest.mark.parametrize("view", ["lateral", "medial", "posterior", "ventral", "dorsal"])
def test_views_show_the_side_they_name(view):
    """The vertices that are farthest out on that side are in the picture, the opposite ones not."""
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    direction = {
        "lateral": (1, 0, 0),
        "medial": (-1, 0, 0),
        "posterior": (0, -1, 0),
        "ventral": (0, 0, -1),
        "dorsal": (0, 0, 1),
    }[view]
    values = np.full(2 * N, np.nan)
    for side, sign in ((0, -1), (1, 1)):
        xyz = surface.load_surf_mesh(files[f"infl_{('left', 'right')[side]}"]).coordinates
        depth = xyz @ (np.array(direction) * (sign, 1, 1))
        values[side * N : (side + 1) * N][depth > np.quantile(depth, 0.95)] = 1
        values[side * N : (side + 1) * N][depth < np.quantile(depth, 0.05)] = 0
    for ax in plotting.inflated(values, label="r", view=view, limits=(0, 1)):
        near = matplotlib.colormaps["viridis"](1.0)[:3]
        colours = shown_colours(ax)
        assert len(colours) > 200
        assert np.isclose(colours, near).all(axis=1).mean() == 1


def test_roi_outline_runs_along_the_border_of_its_mask():
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    mask = np.zeros(2 * N, dtype=bool)
    mask[:N] = surface.load_surf_mesh(files["pial_left"]).coordinates[:, 1] < -90
    ax = plotting.flatmap(np.zeros(2 * N), label="r", rois={"V1": mask})
    faces = surface.load_surf_mesh(files["flat_left"]).faces
    n_mixed = sum(0 < mask[face].sum() < 3 for face in faces)
    outlines = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    assert len(outlines[0].get_segments()) == n_mixed > 0
    assert [t.get_text() for t in ax.texts].count("V1") == 1


def test_an_empty_map_is_bare_cortex_and_says_so():
    ax = plotting.flatmap(np.full(2 * N, np.nan), label="r")
    assert len(shown_colours(ax)) == 0
    assert "no vertex has a value" in [t.get_text() for t in ax.texts]


def test_maps_say_what_they_expect():
    with pytest.raises(ValueError, match=r"\(20484,\) for fsaverage5.*got \(10242,\)"):
        plotting.flatmap(np.zeros(N), label="r")
    with pytest.raises(ValueError, match="view of lateral, medial.*got 'behind'"):
        plotting.inflated(np.zeros(2 * N), label="r", view="behind")


def test_masked_arrays_are_refused_everywhere(images):
    values = np.ma.array(np.zeros(2 * N), mask=np.arange(2 * N) == 5)
    scores = np.ma.array(np.zeros((2, 3)), mask=np.eye(2, 3))
    frames = np.ma.array(images, mask=np.zeros_like(images, bool))
    plotting.frame_slider(frames, list("abc"), "noise")
    frames.mask[0, 0, 0, 0] = True
    for draw, arguments, settings in (
        (plotting.flatmap, (values,), {"label": "r"}),
        (plotting.inflated, (values,), {"label": "r"}),
        (plotting.roi_bars, (scores, list("ab")), {"label": "r"}),
        (plotting.image_grid, ([frames],), {}),
        (plotting.frame_slider, (frames, list("abc"), "noise"), {}),
    ):
        with pytest.raises(ValueError, match="is a masked array with"):
            draw(*arguments, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limits": (1, 0)}, "limits must be two finite numbers, the lower one first"),
        ({"limits": (0, np.nan)}, "limits must be"),
        ({"limits": (0, np.inf)}, "limits must be"),
        ({"centre": np.nan}, "centre must be a finite number"),
        ({"rois": {"V1": np.zeros(2 * N)}}, "V1: expected a mask of bool"),
    ],
)
def test_maps_refuse_scales_without_a_meaning(settings, message):
    with pytest.raises(ValueError, match=message):
        plotting.flatmap(np.zeros(2 * N), label="r", **settings)


def test_maps_say_which_vertex_is_infinite():
    values = np.zeros(2 * N)
    values[[7, 9]] = np.inf
    with pytest.raises(ValueError, match="2 of 20,484 values are infinite, the first at vertex 7"):
        plotting.flatmap(values, label="r")


def test_bars_name_the_score_that_is_missing():
    scores = np.arange(6.0).reshape(2, 3)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="'V2' of subject 2 .* is nan"):
        plotting.roi_bars(scores, ["V1", "V2"], label="r")
    scores[1, 2] = 1
    for interval in ((0.4, 0.2), (0.1, np.inf)):
        with pytest.raises(ValueError, match="the lower one first"):
            plotting.roi_bars(scores, ["V1", "V2"], label="r", intervals=[interval, (0, 1)])
    with pytest.raises(ValueError, match="finite chance level"):
        plotting.roi_bars(scores, ["V1", "V2"], label="r", chance=np.nan)


@pytest.mark.parametrize("width", [0, -1, np.nan])
def test_widths_are_above_0(images, width):
    with pytest.raises(ValueError, match="width must be above 0"):
        plotting.image_grid([images], width=width)
    with pytest.raises(ValueError, match="image_width must be above 0"):
        plotting.frame_slider(images, list("abc"), "noise", image_width=width)
