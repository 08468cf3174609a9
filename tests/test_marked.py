"""Pictures with marks: what lies in the page, and in a browser that the box hides the marks."""

import base64
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from viewer_pages import Elements

from latentcortex import plotting
from latentcortex.plotting import marked

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [
    [("red <car>", 0, "decoded"), ("tower", 2, "invented"), ("night", marked.WHOLE, "guessed")],
    [("house", 1, "missing")],
]
ALT = ['A red car and a "tower" <at night>', "An empty shore"]


def made(images=None, marks=MARKS, alt=ALT, **options):
    images = np.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8) if images is None else images
    return plotting.marked_images(images, marks, alt, **options).data


def test_pictures_and_marks_lie_in_the_page():
    page = Elements(made())
    pictures = page.of("img")
    assert [img["alt"] for img in pictures] == ALT
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[1]["src"].split(",")[1]))))
    expected = np.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)[1].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels / 255, expected, atol=0.003)
    badges = [span for span in page.of("span") if "data-mark" in span]
    # Marks of the whole picture come first, then those of its places from left to right.
    assert [badge["title"] for badge in badges] == ["guessed", "decoded", "invented", "missing"]
    assert "red &lt;car&gt;" in made() and "<car>" not in made()
    (box,) = page.of("input")
    assert box["type"] == "checkbox" and "checked" in box


def test_a_mark_is_said_in_words_and_told_by_more_than_colour():
    text = re.sub("<[^>]+>", "", made())
    for name, (sign, _) in marked.MARKS.items():
        assert f"({name})" in text and f"{sign} {name}" in text
    signs, colours = zip(*marked.MARKS.values(), strict=True)
    assert len(set(signs)) == len(set(colours)) == len(marked.MARKS)


@pytest.mark.parametrize("colour", [colour for _, colour in marked.MARKS.values()])
def test_white_on_a_mark_can_be_read(colour):
    levels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(levels <= 0.03928, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 4.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.full((2, 3, 8, 8), np.nan)}, r"images: expected values in \[0, 1\]"),
        ({"images": np.zeros((2, 8, 8, 3))}, "images of the shape"),
        ({"marks": MARKS[:1]}, "each of 2 images, got 1 and 2"),
        ({"alt": ["", "a"]}, "alt of image 0"),
        ({"marks": [[("car", 3, "decoded")], []]}, "at places from -1 to 2"),
        ({"marks": [[], [("car", 0, "seen")]]}, "marks decoded, guessed, invented, missing"),
        ({"marks": [[("car", 0.5, "decoded")], []]}, "at places from -1 to 2"),
        ({"n_places": 0}, "at least one place"),
        ({"image_width": float("nan")}, "a width above 0"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_a_thing_that_is_called_as_a_mark_is_still_a_thing():
    page = Elements(made(marks=[[("missing", 0, "missing")], []]))
    assert len([span for span in page.of("span") if "data-mark" in span]) == 1


@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
def test_the_box_hides_all_marks_and_shows_them_again(tmp_path):
    script = """
<script>
const box = document.querySelector('input');
const marks = [...document.querySelector('.latentcortex-marked').querySelectorAll('[data-mark]')];
const others = [...document.querySelectorAll('.latentcortex-marked')][1].querySelectorAll('[data-mark]');
const seen = () => marks.map(one => one.checkVisibility({visibilityProperty: true}));
const found = [seen()];
box.click(); found.push(seen());
found.push([...others].map(one => one.checkVisibility({visibilityProperty: true})));
box.click(); found.push(seen());
document.title = JSON.stringify(found);
</script>"""
    (tmp_path / "page.html").write_text(
        f"<!DOCTYPE html><meta charset=utf-8>{made()}{made()}{script}", "utf-8"
    )
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        str(tmp_path / "page.html"),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search("<title>(.*?)</title>", dom)[1]
    assert title == str([[True] * 4, [False] * 4, [True] * 4, [True] * 4]).lower().replace(" ", "")
