"""Panels that one slider moves: what is drawn where, and what is refused."""

import re

import numpy as np
import pytest
from linked_pages import LABELS, N, curves, linked, pictures, points
from viewer_pages import Elements

from latentcortex.plotting import linked as module

X = np.linspace(module.LEFT, module.RIGHT, N)  # of N settings at even distances


def places(element, attribute):
    return [float(text) for text in element[f"data-{attribute}"].split()]


def test_points_move_along_a_scale_that_stays():
    dots = Elements(linked([points()])).of("circle")
    assert len(dots) == 2
    middle, height = (module.LEFT + module.RIGHT) / 2, module.BOTTOM - module.TOP
    # The first point stays in the middle from left to right and rises from the bottom to the top.
    assert float(dots[0]["cx"]) == middle and "data-cx" not in dots[0]
    expected = module.BOTTOM - height * np.arange(N) / (N - 1)
    np.testing.assert_allclose(places(dots[0], "cy"), expected, atol=0.051)
    assert float(dots[0]["cy"]) == pytest.approx(expected[2], abs=0.051)
    # The second lies beyond the limits, at the edge of both axes.
    assert (float(dots[1]["cx"]), float(dots[1]["cy"])) == (module.RIGHT, module.TOP)


def test_the_marker_stands_on_the_curves_and_at_the_edge_where_they_leave_the_panel():
    page = Elements(linked([curves()]))
    bar = [one for one in page.of("rect") if "data-x" in one][0]
    np.testing.assert_allclose(places(bar, "x"), X - 0.75, atol=0.051)
    first, second = page.of("circle")
    assert places(first, "cx") == pytest.approx(X, abs=0.051) == places(second, "cx")
    np.testing.assert_allclose(places(first, "cy"), np.linspace(module.TOP, module.BOTTOM, N), atol=0.051)
    assert places(second, "cy")[0] == module.BOTTOM  # -50 on a scale from 0 to 1
    assert first["fill"] != second["fill"]
    lines = page.of("polyline")
    assert lines[0].get("stroke-dasharray") != lines[1].get("stroke-dasharray"), "told apart in print, too"


def test_equal_ratios_are_equal_distances_on_a_logarithmic_scale():
    bar = [one for one in Elements(linked([curves(x=10.0 ** np.arange(N), log=True)])).of("rect")][0]
    np.testing.assert_allclose(places(bar, "x"), X - 0.75, atol=0.051)
    text = linked([curves(x=10.0 ** np.arange(N), log=True)])
    assert re.findall(r">10<tspan[^>]*>(\d)</tspan>", text)[0] == "0"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(2, 8, "2 5"), (5, 50, "5 10 20 50"), (3, 4, "3 3.2 3.4 3.6 3.8 4"), (0.5, 200, "100 101 102")],
)
def test_a_logarithmic_scale_has_two_ticks_at_least(low, high, expected):
    """Below a factor of 100 there need not be two powers of ten; where there are, they are the ticks."""
    x = np.geomspace(low, high, N)
    x[[0, -1]] = low, high
    text = linked([curves(x=x, log=True, lines={"a": np.zeros(N)})])
    labels = re.findall(rf'y="{module.BOTTOM + 17:.1f}" text-anchor="middle">(.*?)</text>', text)
    assert [re.sub("<.*?>", "", label) for label in labels] == expected.split()


def test_everything_begins_at_the_first_setting_and_can_be_read_out():
    page = Elements(linked([points(), curves(), pictures()], first=3))
    (slider,) = page.of("input")
    assert (slider["value"], slider["max"], slider["aria-valuetext"]) == ("3", str(N - 1), LABELS[3])
    above, *frames = page.of("img")
    assert ["display:block" in one["style"] for one in frames] == [k == 3 for k in range(N)]
    assert "display:block" in above["style"] and above["alt"] == "a <picture> (seen)"
    assert [one["aria-label"] for one in page.of("svg") if one.get("role")] == ["points", "two curves"]
    bar = [one for one in page.of("rect") if "data-x" in one][0]
    assert float(bar["x"]) == places(bar, "x")[3]


def test_nothing_is_asked_of_anybody_and_there_are_no_ids():
    text = linked([points(), curves(), pictures()])
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not any("id" in attributes for _, attributes in Elements(text).found)


@pytest.mark.parametrize(
    ("panels", "changes", "message"),
    [
        ([], {}, "at least one panel"),
        ([points()], {"first": N}, f"from 0 to {N - 1}; got {N}"),
        (["x"], {}, r"panels: expected a list of Points, Curves and Pictures, got \['x'\]"),
        (points(), {}, "panels: expected a list"),
        ([points()], {"first": 1.0}, "from 0 to 4; got 1.0. A place is a whole number"),
        ([points()], {"first": True}, "from 0 to 4; got True"),
        ([points()], {"title": " "}, "title to be a text"),
        ([points()], {"title": None}, "title to be a text"),
        ([points()], {"texts": ["a"]}, f"texts: expected {N}"),
        ([points(y=np.zeros((N + 1, 2)))], {}, r"Points, y: expected finite numbers of the shape \(5, 2\)"),
        ([points(y=np.zeros((N, 3)))], {}, "as many x as y, got 2 and 3"),
        ([points(y=np.full((N, 2), np.nan))], {}, "Points, y: expected finite"),
        ([points(y_limits=(1, 0))], {}, "y_limits: expected two finite numbers, the lower one first"),
        ([points(y_limits=(1,))], {}, "y_limits: expected two finite numbers"),
        ([points(x_limits=1)], {}, "x_limits: expected two finite numbers"),
        ([curves(y_limits=("a", "b"))], {}, "y_limits: expected two finite numbers"),
        ([points(alt="")], {}, "alt to describe a panel of Points"),
        ([curves(x=np.zeros(N))], {}, "expected x to increase"),
        ([curves(x=np.arange(N), log=True)], {}, "above 0 where it is logarithmic"),
        ([curves(lines={})], {}, "one to three lines, got 0"),
        ([curves(lines={"a": np.zeros(2)})], {}, r"Curves, a: expected finite numbers of the shape \(5,\)"),
        ([pictures(images=np.zeros((N, 3, 8, 8)))], {}, "Pictures: expected images"),
        ([pictures(above=np.zeros((1, 3, 8, 8)))], {}, "above: expected images"),
    ],
)
def test_what_cannot_be_drawn_is_refused(panels, changes, message):
    with pytest.raises(ValueError, match=message):
        linked(panels, **changes)


def test_masked_values_are_refused():
    with pytest.raises(ValueError, match="masked"):
        linked([points(y=np.ma.masked_less(np.arange(2.0 * N).reshape(N, 2), 1))])
