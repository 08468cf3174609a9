"""A deck, shown: real keys turn its pages, a slider keeps its arrow keys, nothing is asked of the network."""

import pytest
from browser import BROWSER, Browser
from test_slides import notebook, slides  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

SHOWN = "[...document.querySelectorAll('.frame')].filter(f => f.offsetHeight).map(f => f.id).join()"
RIGHT, LEFT, HOME, END = ("ArrowRight", 39), ("ArrowLeft", 37), ("Home", 36), ("End", 35)


@pytest.fixture
def browser(notebook, tmp_path):  # noqa: F811
    path = tmp_path / "deck.html"
    path.write_text(slides.deck("05_ask", slides.frames(notebook, str, "Why?")), encoding="utf-8")
    made = Browser(tmp_path, 1280, 720)
    made.open(path)
    yield made
    asked = [url for url in made.requests if not url.startswith(("file:", "data:"))]
    made.close()
    assert (asked, made.errors) == ([], [])


def test_keys_turn_the_pages_and_describe_the_figure(browser):
    assert browser.tell(SHOWN) == "1"
    browser.press(*RIGHT)
    assert (browser.tell(SHOWN), browser.tell("location.hash")) == ("2", "#2")
    described = "getComputedStyle(document.querySelector('figcaption')).display"
    assert browser.tell(described) == "none"
    browser.press("d", 68, "d")
    assert browser.tell(described) == "block"
    browser.press(*LEFT)
    browser.press(*LEFT)
    assert browser.tell(SHOWN) == "1"
    browser.press(*END)
    assert (browser.tell(SHOWN), browser.tell("document.getElementById('page').textContent")) == (
        "8",
        "‹ 8 / 8 ›D",
    )
    browser.press(*HOME)
    assert browser.tell(SHOWN) == "1"


def test_a_slider_keeps_its_arrow_keys(browser):
    browser.tell("location.hash = '#5'")
    browser.tell("document.querySelector('input').focus()")
    assert browser.tell(SHOWN) == "5"
    before = browser.tell("document.querySelector('input').value")
    browser.press(*RIGHT)
    assert browser.tell(SHOWN) == "5" and browser.tell("document.querySelector('input').value") != before


def test_a_figure_fits_and_is_enlarged_by_a_click(browser):
    browser.press(*RIGHT)
    height = "document.querySelector('img').getBoundingClientRect().height"
    fits = browser.tell(height)
    assert 200 < fits < 720
    browser.tell("document.querySelector('.parts').click()")
    assert browser.tell(height) > fits
    browser.press("Escape", 27)
    assert browser.tell(height) == fits
