"""Composing a case from choices: what travels with a page, and what a reader gets by keyboard."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from browser import BROWSER, Browser
from PIL import Image
from quiz_pages import pictures
from viewer_pages import Elements, map_of

from latentcortex import plotting

CHOICES = {"sky": ("day", "dusk", "<night>"), "side": ("left", "right")}
WORDS = {"title": "Compose <one>", "alt": "A made-up scene"}
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
CASES = list(itertools.product(*CHOICES.values()))


def shown_pictures():
    return {"scene": pictures(6), "drawn": pictures(6, seed=4)}


def cortex(n=6, **settings):
    values = np.stack([map_of().values * (k + 1) for k in range(n)])
    frames = plotting.VertexMap(values, "r", frames=[f"case {k}" for k in range(n)])
    return plotting.cortex_viewer(frames, title="Cortex", alt="Predicted responses.", **settings)


def page(**changes):
    given = {"choices": CHOICES, "pictures": shown_pictures(), **WORDS} | changes
    return plotting.picture_composer(given.pop("choices"), given.pop("pictures"), **given).data


def test_every_picture_travels_at_its_place():
    (box,) = [a for a in Elements(page()).of("div") if a.get("class") == "latentcortex-composer"]
    setup = json.loads(box["data-setup"])
    assert setup["choices"] == [[name, list(of)] for name, of in CHOICES.items()]
    for sheet, images in zip(json.loads(box["data-sheets"]), shown_pictures().values(), strict=True):
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.split(",")[1])))) / 255
        assert found.shape == (32 * setup["rows"], 32 * setup["columns"], 3)
        for k, image in enumerate(images):
            row, column = 32 * (k // setup["columns"]), 32 * (k % setup["columns"])
            tile = found[row : row + 32, column : column + 32]
            np.testing.assert_allclose(tile.mean((0, 1)), image.mean((1, 2)), atol=0.03)


def test_without_scripts_the_pictures_of_the_first_case_stand_there():
    of_first = [Elements(page(first=k)).of("img") for k in (0, 3)]
    assert [img["alt"] for img in of_first[1]] == ["A made-up scene: scene", "A made-up scene: drawn"]
    assert of_first[0][0]["src"] != of_first[1][0]["src"]


def test_nothing_comes_from_elsewhere():
    text = page(cortex=cortex())
    assert not [part for part in ("http:", "https:", "@import", "fetch(") if part in text]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {"sky": ("day",)}}, "at least two options"),
        ({"choices": {}}, "at least two options"),
        ({"choices": {"sky": "day"}}, "at least two options"),
        ({"pictures": {}}, "at least one label"),
        ({"pictures": {"scene": pictures(5)}}, "scene: expected 6 pictures, one per combination; got 5"),
        ({"pictures": {"scene": 255 * pictures(6)}}, "scene: expected values in"),
        ({"first": 6}, "Expected first from 0 to 5; got 6"),
        ({"first": True}, "Expected first from 0 to 5; got True"),
        ({"first": 1.0}, "Expected first from 0 to 5; got 1.0"),
        ({"choices": {"a": 5}}, "at least two options of each; .'a'. has fewer"),
        ({"choices": ["day", "night"]}, "choices: expected a dict"),
        ({"alt": " "}, "Expected alt to be a text"),
        ({"title": None}, "Expected title to be a text"),
        ({"cortex": cortex(5)}, "cortex: expected 6 frames, one per combination; r has 5"),
        ({"cortex": plotting.frame_slider(pictures(2), "ab", "A slider")}, "what cortex_viewer returns"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        page(**changes)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_cortex_that_starts_later_follows_at_once(tmp_path):
    """Its mesh comes with another viewer, further down the page."""
    late = page(first=4, cortex=cortex(with_mesh=False))
    mesh = plotting.cortex_viewer(map_of(), title="Mesh", alt="Another map.").data
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{late}{mesh}', "utf-8")
    browser = Browser(tmp_path, options=WEBGL)
    try:
        browser.open(tmp_path / "page.html")
        inside = "document.querySelector('.latentcortex-composer .latentcortex-cortex')"
        assert browser.tell(f"{inside}.dataset.live") == "yes"
        assert browser.tell(f"{inside}.latentcortex.state.frame") == 4
        assert browser.tell(f"{inside}.querySelectorAll('input[type=range]').length") == 1, "of the shape"
        assert browser.errors == []
    finally:
        browser.close()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_reader_composes_by_keyboard_and_the_cortex_follows(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(f'<!doctype html><meta charset="utf-8">{page(first=1, cortex=cortex())}', "utf-8")
    browser = Browser(tmp_path, options=WEBGL)
    try:
        browser.open(file)
        tab, right, down = ("Tab", 9), ("ArrowRight", 39), ("ArrowDown", 40)

        def state():
            return browser.tell(
                "[document.querySelector('.lcc-said').textContent,"
                "document.querySelector('.latentcortex-cortex').latentcortex.state.frame,"
                "[...document.querySelectorAll('.lcc-picture')].map(e => e.getAttribute('aria-label')),"
                "[...document.querySelectorAll('.lcc-picture')].map(e => e.style.backgroundPosition)]"
            )

        def expected(k):
            words = ", ".join(CASES[k])
            labels = [f"A made-up scene: {label} ({words})" for label in ("scene", "drawn")]
            # Three columns and two rows, by the share of what is hidden.
            return [words, k, labels, [f"{50 * (k % 3)}% {100 * (k // 3)}%"] * 2]

        assert state() == expected(1)
        browser.press(*tab)
        browser.press(*right)  # day to dusk
        assert state() == expected(3)
        browser.press(*tab)
        browser.press(*down)  # from right on to left, round the end
        assert state() == expected(2)
        # The slider of frames is gone, that of the shape has stayed.
        assert browser.tell("document.querySelectorAll('.latentcortex-cortex input[type=range]').length") == 1
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
