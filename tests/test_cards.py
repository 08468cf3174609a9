"""Cards of vertices: what travels with a page, what readers get by mouse and keyboard, how they are made."""

import base64
import io
import json

import numpy as np
import pytest
from browser import BROWSER, Browser
from PIL import Image
from quiz_pages import pictures
from viewer_pages import WORDS, back_to_front, map_of, some_regions

from latentcortex import plotting
from latentcortex.plotting.cards import THUMBNAIL, UNKNOWN, packed_cards
from latentcortex.studies import vertex_cards

N, BEST, VOCABULARY = 10_242, 4, ["car", "<night>", "red", "robot", "sea", "tower"]
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
VERTICES = np.flatnonzero(back_to_front() > 60)
DARK = VERTICES[3]


def cards_of(**changes):
    """Made-up cards of the back of cortex; the vertex DARK has no field."""
    rng, n = np.random.default_rng(3), len(VERTICES)
    fields = np.stack([rng.uniform(-4, 4, n), rng.uniform(-4, 4, n), rng.uniform(0.3, 3, n)], axis=1)
    fields[VERTICES == DARK] = np.nan
    given = {"vertices": VERTICES, "fields": fields, "field_r": rng.uniform(-0.2, 0.8, n), "width": 8.4}
    given |= {"images": pictures(30, size=64), "descriptions": [f"a <scene> {k}" for k in range(30)]}
    given |= {"best": rng.permuted(np.tile(np.arange(20), (n, 1)), axis=1)[:, :BEST]}
    given |= {"words": VOCABULARY, "answers": rng.normal(0, 0.5, (n, len(VOCABULARY)))}
    given |= {"examples": {"first": VERTICES[10], "dark": DARK, "third": VERTICES[20]}}
    return plotting.VertexCards(**(given | changes))


def unpacked(cards):
    packed = packed_cards(cards)
    places = np.frombuffer(base64.b64decode(packed["cards-places"]), "<u2").astype(int)
    amounts = np.frombuffer(base64.b64decode(packed["cards-amounts"]), "<i2").astype(int)
    return json.loads(packed["cards-setup"]), places, amounts, packed["cards-sheet"]


def test_cards_travel_as_they_were_passed_in():
    cards = cards_of()
    setup, places, amounts, sheet = unpacked(cards)
    n = len(VERTICES)
    vertices, best, liked = np.split(places, [n, n + n * BEST])
    np.testing.assert_array_equal(vertices, VERTICES)
    # Only images that a card shows travel, each once: 20 of the 30.
    assert setup["descriptions"] == [f"a <scene> {k}" for k in range(20)]
    np.testing.assert_array_equal(best.reshape(n, BEST), cards.best)
    fields, r, answers = np.split(amounts, [3 * n, 4 * n])
    known = np.isfinite(cards.fields)
    assert (fields.reshape(n, 3)[~known] == UNKNOWN).all() and (~known).sum() == 3
    assert np.abs(fields.reshape(n, 3)[known] / 100 - cards.fields[known]).max() <= 0.005 + 1e-9
    assert np.abs(r / 100 - cards.field_r).max() <= 0.005 + 1e-9
    # The five largest of six answers, each next to its word.
    shown = np.take_along_axis(cards.answers, liked.reshape(n, 5), axis=1)
    assert np.abs(answers.reshape(n, 5) / 100 - shown).max() <= 0.005 + 1e-9
    np.testing.assert_array_equal(shown, -np.sort(-cards.answers, axis=1)[:, :5])
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.split(",")[1]))))
    assert picture.shape == (4 * THUMBNAIL, 5 * THUMBNAIL, 3) and (setup["columns"], setup["rows"]) == (5, 4)
    for k in (0, 7, 19):
        row, column = k // 5 * THUMBNAIL, k % 5 * THUMBNAIL
        found = picture[row : row + THUMBNAIL, column : column + THUMBNAIL].mean((0, 1)) / 255
        np.testing.assert_allclose(found, cards.images[k].mean((1, 2)), atol=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.repeat(VERTICES[:1], len(VERTICES))}, "vertices: expected a list in which each"),
        ({"vertices": VERTICES + 2 * N}, "vertices: expected the vertices of fsaverage5, from 0 to 20483"),
        ({"vertices": VERTICES * 1.0}, "vertices: expected whole numbers"),
        ({"best": np.full((len(VERTICES), 2), 30)}, "best: expected the rows of images, from 0 to 29"),
        ({"best": np.zeros((2, 2), int)}, "best: expected rows of images of the shape"),
        ({"fields": np.zeros((len(VERTICES), 2))}, "fields: expected numbers"),
        ({"field_r": np.full(len(VERTICES), np.inf)}, "field_r: expected numbers within 300"),
        ({"answers": np.zeros((len(VERTICES), 2))}, "answers: expected numbers"),
        ({"images": 255 * pictures(30)}, "images: expected values in"),
        ({"descriptions": ["one"]}, "descriptions: expected 30, one per image; got 1"),
        ({"width": 0}, "width: expected the picture's degrees"),
        ({"examples": {}}, "examples: expected vertices that have a card"),
        ({"examples": {"nowhere": 2 * N - 1}}, "nowhere"),
    ],
)
def test_bad_cards_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        packed_cards(cards_of(**changes))


def test_answers_to_words_are_means_over_the_images_whose_captions_have_them():
    """Of 80 images 35 have a car, all have a house and 10 a robot; small words and rare ones are left out."""
    rng = np.random.default_rng(0)
    betas, has_car = rng.normal(size=(80, 6)), np.arange(80) < 35
    captions = [[("A car and" if car else "With") + " a house", "house"] for car in has_car]
    for of in captions[:10]:
        of.append("robot")
    words, answers = vertex_cards.answers_to_words(captions, betas)
    assert words == ["car"]
    np.testing.assert_allclose(answers[:, 0], betas[:35].mean(axis=0))


# In a browser -----------------------------------------------------------------------------------

with_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
BOX = "document.querySelector('.latentcortex-cortex')"
LIST = f"{BOX}.querySelector('[aria-label=\"Example vertices\"]')"
VIEW = f"{BOX}.querySelector('[aria-label=View]')"
UP, DOWN = ("ArrowUp", 38), ("ArrowDown", 40)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A browser with a viewer with cards, and the cards."""
    cards, folder = cards_of(), tmp_path_factory.mktemp("cards")
    shares = np.linspace(0, 1, 2 * N)
    page = plotting.cortex_viewer(map_of(), rois=some_regions(), ceiling=shares, cards=cards, **WORDS).data
    (folder / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{page}', "utf-8")
    browser = Browser(folder, options=WEBGL)
    browser.open(folder / "page.html")
    assert browser.tell(f"{BOX}.dataset.live") == "yes"
    yield browser, cards
    browser.close()
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


def card(browser):
    return browser.tell(f"{BOX}.querySelector('.lc-card').textContent")


def chosen(browser):
    return browser.tell(f"{BOX}.latentcortex.state.vertex")


def expected_words(cards, vertex):
    answers = cards.answers[list(cards.vertices).index(vertex)]
    order = np.argsort(-answers)[:5]
    return ", ".join(f"{VOCABULARY[w]} {answers[w]:+.2f}".replace("-", "−") for w in order)


@with_browser
def test_the_first_example_is_shown_and_the_list_offers_the_others(shown):
    browser, cards = shown
    vertex = cards.examples["first"]
    browser.tell(f"{BOX}.latentcortex.choose({vertex})")
    x, y, size = cards.fields[10]
    text = card(browser)
    assert f"{abs(x):.1f}° {'right' if x > 0 else 'left'}, {abs(y):.1f}° {'up' if y > 0 else 'down'}" in text
    assert f"size {size:.1f}°" in text and f"r = {cards.field_r[10]:.2f}" in text
    assert f"Noise ceiling: {100 * vertex / (2 * N - 1):.0f} %" in text
    assert text.endswith(expected_words(cards, vertex))
    labels = f"[...{BOX}.querySelectorAll('.lc-thumb')].map(e => e.getAttribute('aria-label'))"
    assert browser.tell(labels) == [f"a <scene> {k}" for k in cards.best[10]]
    circle = f"['cx', 'cy', 'r'].map(n => +{BOX}.querySelector('.lc-narrow').getAttribute(n))"
    np.testing.assert_allclose(browser.tell(circle), [x, -y, size], atol=0.006)  # SVG's y runs downwards
    # The list names the first example; the next one is a key away, and so is the way back.
    browser.tell(f"{LIST}.focus()")
    browser.press(*DOWN)
    assert chosen(browser) == DARK and "Looks at: unknown" in card(browser)
    assert browser.tell(f"{BOX}.querySelectorAll('circle').length") == 0
    browser.press(*DOWN)
    assert chosen(browser) == cards.examples["third"]
    browser.press(*UP)
    assert chosen(browser) == DARK
    # Another vertex that is chosen otherwise is none of the list.
    browser.tell(f"{BOX}.latentcortex.choose({cards.vertices[40]})")
    assert browser.tell(f"{LIST}.value") == "0"


@with_browser
def test_each_view_is_reached_by_keyboard(shown):
    """From the list of views down to the last one, until another turn makes it untrue."""
    browser, _ = shown
    browser.tell(f"{BOX}.latentcortex.setShape(1); {BOX}.latentcortex.reset()")
    browser.tell(f"{VIEW}.focus()")
    seen = []
    for _ in range(5):
        browser.press(*DOWN)
        seen.append(browser.tell(f"[{BOX}.latentcortex.state.yaw, {BOX}.latentcortex.state.pitch]"))
    assert seen == [[0, 0], [0, -90], [0, 90], [90, 0], [-90, 0]]
    assert browser.tell(f"{VIEW}.value") == "5"
    browser.tell(f"{BOX}.latentcortex.canvas.focus()")
    browser.press("ArrowLeft", 37)
    assert browser.tell(f"{VIEW}.value") == "0"


@with_browser
def test_arrow_buttons_step_over_the_surface_by_keyboard(shown):
    """Each step goes where the arrow points, to a vertex with a card, a few edges away."""
    browser, cards = shown
    browser.tell(f"{BOX}.latentcortex.setShape(2)")
    for name, sign in (("left", (-1, 0)), ("right", (1, 0)), ("above", (0, 1)), ("below", (0, -1))):
        browser.tell(f"{BOX}.latentcortex.choose({cards.examples['first']})")
        browser.tell(f"{BOX}.querySelector('button[aria-label$=\"{name}\"]').focus()")
        browser.press("Enter", 13, "\r")
        there = chosen(browser)
        assert there in cards.vertices and there != cards.examples["first"]
        assert expected_words(cards, there) in card(browser)
        mesh = f"{BOX}.latentcortex.mesh.flat"
        ends = [
            browser.tell(f"[{mesh}[{2 * v}], {mesh}[{2 * v + 1}]]") for v in (cards.examples["first"], there)
        ]
        step = np.diff(ends, axis=0)[0] / 200  # mm
        assert np.linalg.norm(step) < 40 and step @ sign > 0.5 * np.linalg.norm(step)


@with_browser
def test_a_press_on_the_cortex_chooses_and_a_bare_one_says_why_not(shown):
    browser, cards = shown
    browser.tell(f"{BOX}.latentcortex.setShape(2); {BOX}.latentcortex.draw()")
    for vertex, has_card in ((cards.vertices[40], True), (int(np.argmin(back_to_front()[:N])), False)):
        browser.tell(f"{BOX}.latentcortex.choose({cards.examples['first']})")
        browser.tell(f"{BOX}.latentcortex.choose({vertex})")
        assert (chosen(browser) == vertex) == has_card
        assert ("has no card" in card(browser)) != has_card
    # Enter on the canvas takes the vertex in the middle of the picture, and a click that under the mouse.
    browser.tell(f"{BOX}.latentcortex.reset(); {BOX}.latentcortex.setShape(1)")
    place = browser.tell(
        f"(() => {{ const V = {BOX}.latentcortex; V.state.yaw = 0; V.draw();"
        f"V.canvas.scrollIntoView(); const f = V.canvas.getBoundingClientRect();"
        f"for (const x of [...Array(60).keys()].map(k => k / 60)) {{ const v = V.at(x, -0.3);"
        f"if ([{','.join(map(str, cards.vertices))}].includes(v))"
        f"return [f.left + (1 + x) / 2 * f.width, f.top + 1.3 / 2 * f.height, v]; }} }})()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call(
            "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
        )
    assert chosen(browser) == place[2]
    browser.tell(f"{BOX}.latentcortex.canvas.focus()")
    browser.press("Enter", 13, "\r")
    middle = browser.tell(f"{BOX}.latentcortex.at(0, 0)")
    assert chosen(browser) == (middle if middle in cards.vertices else place[2])


def test_a_viewer_without_cards_has_none():
    page = plotting.cortex_viewer(map_of(), **WORDS).data
    assert "data-cards" not in page
