"""Sliders that move several things, by real keys in a browser without a network."""

import json

import numpy as np
import pytest
from browser import BROWSER, Browser, opened
from linked_pages import LABELS, N, curves, linked, pictures, points

from latentcortex import plotting

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

RIGHT, LEFT, HOME, END = ("ArrowRight", 39), ("ArrowLeft", 37), ("Home", 36), ("End", 35)
BOX = "document.querySelectorAll('.latentcortex-frames')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("browser"), 390, 900)
    yield made
    made.close()


@pytest.fixture
def show(browser, tmp_path):
    head = '<meta name="viewport" content="width=device-width"><title>sliders</title>'
    with opened(browser, tmp_path, head) as show:
        yield show


def at(browser, selector, attribute, box=0):
    found = f"{BOX}[{box}].querySelectorAll({json.dumps(selector)})"
    return browser.tell(f"[...{found}].map(one => one.getAttribute({json.dumps(attribute)}))")


def visible(browser, box=0):
    """The places of the visible pictures among those of a row that changes."""
    row = f"[...{BOX}[{box}].querySelector('[data-frames]').children]"
    return browser.tell(f"{row}.map((one, k) => one.offsetHeight ? k : -1).filter(k => k >= 0)")


def focus(browser, slider=0, box=0):
    browser.tell(f"{BOX}[{box}].querySelectorAll('input')[{slider}].focus()")


def test_points_curves_and_pictures_move_together(show):
    page = linked([points(), curves(), pictures()], texts=[f"R2 = {k}" for k in range(N)])
    browser = show(page, page)  # the same one twice: neither moves the other
    focus(browser)
    for key, k in ((RIGHT, 3), (RIGHT, 4), (RIGHT, 4), (HOME, 0), (LEFT, 0), (END, 4), (LEFT, 3)):
        browser.press(*key)
        assert at(browser, "input", "aria-valuetext") == [LABELS[k]]
        assert visible(browser) == [k]
        for attribute in ("cx", "cy", "x"):
            moving = f"[data-{attribute}]"
            expected = [of.split()[k] for of in at(browser, moving, f"data-{attribute}")]
            assert expected and at(browser, moving, attribute) == expected
        said = browser.tell(f"{BOX}[0].querySelector('output').textContent")
        assert said == f"penalty {LABELS[k]}\nR2 = {k}"
        assert visible(browser, 1) == [2]


def test_panels_are_stacked_on_a_phone_and_nothing_jumps(show):
    texts = ["short", *["a text that is a good deal longer than a line of a phone can be"] * (N - 1)]
    browser = show(linked([points(), curves(), pictures()], texts=texts), "<p>below</p>")
    boxes = browser.tell(
        "[...document.querySelectorAll('svg[role]')].map(one => one.getBoundingClientRect())"
        ".map(one => [one.left, one.right, one.top, one.bottom])"
    )
    assert boxes[1][2] >= boxes[0][3], "the second panel stands below the first"
    assert browser.tell("document.documentElement.scrollWidth") <= browser.tell("innerWidth")
    size = browser.tell(
        "(one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)"
        "(document.querySelector('svg[role] text'))"
    )
    assert size >= 9
    tops = set()
    focus(browser)
    browser.press(*HOME)
    for _ in range(N):
        tops.add(browser.tell("document.querySelector('p').getBoundingClientRect().top"))
        browser.press(*RIGHT)
    assert len(tops) == 1


def test_three_settings_lead_to_their_own_picture(show):
    frames = np.zeros((2, 3, 4, 1, 3, 8, 8))
    labels = [[f"{name}{k}" for k in range(n)] for name, n in zip("abc", frames.shape, strict=False)]
    texts = np.arange(24).astype(str).reshape(2, 3, 4)
    page = plotting.grid_slider(frames, list("abc"), labels, "nothing", first=(0, 2, 1), texts=texts)
    browser, places = show(page.data), [0, 2, 1]
    assert visible(browser) == [9]
    for slider, key, place in ((0, RIGHT, 1), (2, END, 3), (1, LEFT, 1), (2, HOME, 0), (0, LEFT, 0)):
        focus(browser, slider)
        browser.press(*key)
        places[slider] = place
        k = int(np.ravel_multi_index(places, (2, 3, 4)))
        assert visible(browser) == [k]
        assert at(browser, "input", "aria-valuetext") == [
            f"{n}{p}" for n, p in zip("abc", places, strict=True)
        ]
        assert browser.tell(f"{BOX}[0].querySelector('output').textContent").endswith(f"\n{k}")
