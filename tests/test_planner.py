"""Planning a study: what travels with the page, and what a reader gets by keyboard."""

import json

import numpy as np
import pytest
from browser import BROWSER, Browser
from viewer_pages import Elements

from latentcortex import plotting

FACTORS = {"subjects": (1, 4), "trials": ("750 <b>", "1,500", "3,000"), "signal": ("half", "whole")}
FINDINGS = {"a <difference>": True, "nothing": False}
SHAPE = (2, 2, 3, 2)


def chances(**changes):
    found = (0.2 + 0.03 * np.arange(24)).reshape(SHAPE)
    given = {"found": found, "right": 0.8 * found, "low": 0.7 * found, "high": found}
    given["exaggeration"] = np.where(np.arange(24).reshape(SHAPE) == 2, np.nan, 1.25)
    return given | changes


def page(**changes):
    given = {"chances": chances(), "factors": FACTORS, "findings": FINDINGS, "hours": (1, 2, 4)} | changes
    words = {"title": given.pop("title", "Plan <it>"), "first": given.pop("first", (1, 0, 1))}
    places = [given.pop(name) for name in ("chances", "factors", "findings", "hours")]
    return plotting.study_planner(*places, **words, **given).data


def test_every_chance_travels_at_its_place():
    (box,) = [a for a in Elements(page()).of("div") if a.get("class") == "latentcortex-planner"]
    setup, given = json.loads(box["data-setup"]), chances()
    assert [of["labels"] for of in setup["factors"]] == [
        [str(v) for v in values] for values in FACTORS.values()
    ]
    for k, at in np.ndindex(2, 12):
        cell, place = setup["cells"][k][at], (k, *np.unravel_index(at, SHAPE[1:]))
        for name in ("found", "right", "low", "high"):
            assert cell[name] == pytest.approx(given[name][place], abs=5e-4)
        assert cell["exaggeration"] == (None if (k, at) == (0, 2) else 1.25)


def test_without_scripts_the_first_design_stands_there():
    text, at = page(), np.ravel_multi_index((1, 0, 1), SHAPE[1:])
    found = chances()["found"].reshape(2, -1)[:, at]
    assert f"a &lt;difference&gt;: found and right {80 * found[0]:.0f} %" in text
    assert f"nothing: false alarms {100 * found[1]:.0f} %" in text
    assert "subjects 4, trials 750 &lt;b&gt;, signal whole" in text


def test_nothing_comes_from_elsewhere():
    # The name of SVG is an address that nothing is asked of.
    text = page().replace("http://www.w3.org/2000/svg", "")
    assert not [part for part in ("http:", "https:", "@import", "fetch(") if part in text]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chances": {"found": np.zeros(SHAPE)}}, "chances: exaggeration, high, low, right missing"),
        ({"chances": chances(right=np.zeros((2, 2)))}, r"right: expected the shape \(2, 2, 3, 2\)"),
        ({"chances": chances(low=100 * np.ones(SHAPE))}, "low: expected shares from 0 to 1; got 100"),
        ({"chances": chances(found=np.full(SHAPE, np.nan))}, "found: expected shares from 0 to 1"),
        ({"factors": {"subjects": (1, 4)}}, "at least two factors"),
        ({"findings": {}}, "at least two factors and a finding"),
        ({"hours": (1, 2)}, "hours: expected 3, one for each trials; got 2"),
        ({"ticks": "ab"}, "ticks: expected 3, one for each trials; got 2"),
        ({"first": (0, 0)}, "first: expected a place for each of 3 factors, got 2"),
        ({"first": (0, 3, 0)}, "Expected first from 0 to 2; got 3"),
        ({"finding": 2}, "Expected finding from 0 to 1; got 2"),
        ({"title": ""}, "Expected title to be a text"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        page(**changes)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_reader_plans_by_keyboard(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(f'<!doctype html><meta charset="utf-8">{page()}', "utf-8")
    browser = Browser(tmp_path)
    try:
        browser.open(file)

        def said():
            return browser.tell("document.querySelector('.lcp-said').textContent")

        def expected(finding, *at):
            found = chances()["found"][(finding, *at)]
            words = ("False alarms", 100 * found) if finding else ("Found and right", 80 * found)
            return f"{words[0]}: {words[1]:.0f} % of the studies."

        tab, right, down = ("Tab", 9), ("ArrowRight", 39), ("ArrowDown", 40)
        assert expected(0, 1, 0, 1) in said() and "Cost: 4 subjects, 4 hours of" in said()
        assert "Of these, 20 % have the wrong sign." in said() and "1.25 times as large" in said()
        browser.press(*tab)
        browser.press(*tab)
        browser.press("ArrowLeft", 37)  # to one subject
        browser.press(*tab)
        browser.press(*right)  # to 1,500 trials
        assert expected(0, 0, 1, 1) in said() and "Cost: 1 subject, 2 hours of" in said()
        row = "document.querySelectorAll('.lcp-row input')[1]"
        assert browser.tell(f"{row}.getAttribute('aria-valuetext')") == "1,500"
        label = browser.tell("document.querySelector('svg').getAttribute('aria-label')")
        assert label.startswith("Found and right by trials. 750 <b>:")
        browser.tell("document.querySelector('.latentcortex-planner input').focus()")
        browser.press(*down)
        assert expected(1, 0, 1, 1) in said() and "wrong in 5 % of" in said()
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
