import pytest

from latentcortex.metrics import Interval
from latentcortex.plotting import typeset


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("r is -0.18 [-0.21, -0.15]", "r is −0.18 [−0.21, −0.15]"),
        ("-1 and **-.5**", "−1 and **−.5**"),
        ("66% and 95 %", "66\u00a0% and 95\u00a0%"),
        (f"in {Interval(0.09, 0.06, 0.11, 4):.0%}", "in 9\u00a0% [6 to 11\u00a0%]"),
    ],
)
def test_numbers_look_as_in_print(raw, expected):
    assert typeset(raw) == expected
    assert typeset(expected) == expected, "what is typeset stays"


@pytest.mark.parametrize(
    "text",
    [
        "2-way",
        "sessions 1-37",
        "(#numbers-09-scores)",
        "- 5 images",
        "2026-11-30",
        "VGG-16",
        "betas[-1]",
        "a %s of",
        "x)-1",
        "results/-3.npz",
        "[here](#-2)",
        "2\u00a0%-4\u00a0%",
    ],
)
def test_hyphens_that_are_no_signs_stay(text):
    assert typeset(text) == text


def test_a_number_is_refused_by_name():
    with pytest.raises(TypeError, match="got float: format it first"):
        typeset(0.5)
