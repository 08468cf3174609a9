"""The front page: its chapters are those of the book, and its numbers those of the products."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from viewer_pages import Elements

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def front():
    """The modules of the front page by name; they import each other as a page next to them does."""
    names, loaded = ("front", "front_pictures", "front_html"), {}
    try:
        for name in names:
            spec = importlib.util.spec_from_file_location(name, BOOK / f"{name}.py")
            sys.modules[name] = loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        yield loaded
    finally:
        for name in names:
            sys.modules.pop(name, None)


def test_there_is_a_card_for_each_chapter_under_its_own_title(front):
    assert list(front["front"].CHAPTERS) == CHAPTERS
    for page, title in front["front"].CHAPTERS.items():
        first = "".join(json.loads((BOOK / f"{page}.ipynb").read_text())["cells"][0]["source"])
        assert re.sub(r"^\d+\W+", "", first.splitlines()[0].removeprefix("# ")) == title


def test_each_card_has_a_sentence_with_a_number_a_picture_and_a_link(front):
    page = Elements(front["front_html"].cards().data)
    links, pictures = page.of("a"), page.of("img")
    assert [link["href"] for link in links] == [f"{chapter}.html" for chapter in CHAPTERS]
    assert len(pictures) == len(CHAPTERS) == len({picture["src"] for picture in pictures})
    assert all(len(picture["alt"]) > 40 and picture["src"].startswith("data:") for picture in pictures)
    for page_name, sentence in front["front"].findings().items():
        assert re.search(r"\d", sentence) and sentence.endswith("."), page_name
        assert "nan" not in sentence, page_name


def test_numbers_of_cards_agree_with_another_route(front):
    product = front["front"].product
    sentences = {page: text.replace("\xa0", " ") for page, text in front["front"].findings().items()}
    of = product("ch14_leave_kinds_out")
    setting = of["setting_scores"][..., of.provenance["scores"].index("setting")].mean(axis=(0, 1))
    assert f"in {100 * setting[0]:.0f} % [" in sentences["14_what_we_may_conclude"]
    assert f"right in {100 * setting[1]:.0f} % [" in sentences["14_what_we_may_conclude"]
    # Chapter 06's setting comes from single drawings here, from their scores by row in chapter 09.
    scored = product("ch09_measure_reconstructions")
    rows, names = scored.provenance["rows"], scored.provenance["scores"]
    of_06 = scored["scores"][:, :, rows.index("both"), names.index("setting")].mean()
    assert f"c, {100 * of_06:.0f} % [" in sentences[CHAPTERS[5]]
    # Chapter 02's ceiling comes from the ncsnr by subject here, from the maps of chapter 10 there.
    ceiling = product("ch10_encode_voxels")["ceiling"][0].mean()
    assert f"predict {100 * ceiling:.0f} % [" in sentences[CHAPTERS[1]]


def test_the_film_ends_on_the_drawings_of_chapter_06(front):
    """It is drawn again from stored z and c; the drawings of chapter 06 were made from all of the data."""
    frames, order = front["front"].film_frames()
    shown = front["front"].product("ch06_reconstruct_images", "-pictures")
    n_films = len(front["front"].product("ch00_open_the_book")["film_z"])
    last = frames.reshape(n_films, -1, *frames.shape[1:])[:, -1]
    known = shown["pictures"][:n_films, 0, front["front"].BOTH].transpose(0, 3, 1, 2) / 255
    assert np.abs(last[:, 1] - known).max() < 0.02
    assert shown["image_ids"][:n_films].tolist() == list(front["front"].originals())[:n_films]
    assert sorted(set(order)) == list(range(len(frames)))
    # The first frame is mostly noise: far from the drawing, while the last but one is close to it.
    per_scene = frames.reshape(n_films, -1, *frames.shape[1:])[:, :, 1]
    far, near = (np.abs(per_scene[:, k] - per_scene[:, -1]).mean() for k in (0, -2))
    assert far > 4 * near


def test_the_pipeline_can_be_read_and_heard(front):
    text = front["front_html"].pipeline()
    page = Elements(text)
    (svg,) = page.of("svg")
    assert svg["role"] == "img" and "decoding" in svg["aria-label"].lower()
    width = float(svg["viewbox"].split()[2])
    # On a telephone, 390 pixels wide, a page leaves a figure 358.
    assert min(float(of["font-size"]) for of in page.of("text")) * 358 / width >= 9
    assert not any("id" in attrs for _, attrs in page.found)


def test_a_missing_product_is_named(front):
    with pytest.raises(FileNotFoundError, match="one product ch99_nothing in results/, found 0"):
        front["front"].product("ch99_nothing")


def test_readers_of_the_front_page_see_no_code():
    cells = json.loads((BOOK / "intro.ipynb").read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert {"remove-input", "remove-cell"} & set(cell["metadata"]["tags"])
            assert cell["outputs"] == [] and cell["execution_count"] is None
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "simulated" in text.lower() and text.index("{important}") < text.index("## ")
