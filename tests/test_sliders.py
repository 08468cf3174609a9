"""Sliders over frames: every frame is there, the right one is shown, and each can be read out."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from viewer_pages import Elements

from latentcortex import plotting


def decoded(img):
    data = base64.b64decode(img["src"].removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)), dtype=float) / 255


def smooth_frames(n_frames, n_images, size):
    ramp = np.linspace(0, 1, size)
    level = np.linspace(0, 1, n_frames * n_images * 3).reshape(n_frames, n_images, 3, 1, 1)
    return 0.5 * level + 0.5 * np.broadcast_to(ramp, (n_frames, n_images, 3, size, size))


def test_slider_holds_every_frame_and_image_in_order():
    frames = smooth_frames(4, 2, 16)
    page = Elements(plotting.frame_slider(frames, ["a", "b", "c", "d"], "two noisy scenes").data)
    pictures = [decoded(img) for img in page.of("img")]
    assert [p.shape for p in pictures] == [(16, 34, 3)] * 4  # two images and a gap of 2 pixels
    for picture, frame in zip(pictures, frames, strict=True):
        for left, image in zip((0, 18), frame, strict=True):
            inner = picture[2:-2, left + 2 : left + 14], image.transpose(1, 2, 0)[2:-2, 2:14]
            assert np.abs(inner[0] - inner[1]).max() < 0.06


def test_slider_shows_the_first_frame_and_can_be_read_out():
    frames = smooth_frames(3, 1, 8)[:, 0]
    page = Elements(plotting.frame_slider(frames, ["t = 999", "t < 500", "t = 1"], "a scene").data)
    assert [img["alt"] for img in page.of("img")] == [
        "a scene (t = 999)",
        "a scene (t < 500)",
        "a scene (t = 1)",
    ]
    shown = ["display:block" in img["style"] for img in page.of("img")]
    assert shown == [True, False, False]
    (slider,) = page.of("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "2", "0")
    assert slider["aria-label"] and slider["aria-valuetext"] == "t = 999"
    assert len(page.of("button")) == len(page.of("output")) == 1


def test_slider_asks_nothing_of_anybody_and_uses_no_ids():
    """Ids would tie a second slider on the page to the first one's frames."""
    text = plotting.frame_slider(smooth_frames(2, 1, 8), ["a", "b"], 'say "noise"').data
    markup = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "//" not in markup
    assert not any("id" in attrs for _, attrs in Elements(text).found)
    assert Elements(text).of("img")[0]["alt"] == 'say "noise" (a)'


def test_slider_says_what_it_expects():
    frames = smooth_frames(2, 1, 8)
    with pytest.raises(ValueError, match="Expected 2 labels"):
        plotting.frame_slider(frames, ["a"], "a scene")
    for alt in (" ", None):
        with pytest.raises(ValueError, match="Expected alt to describe the frames in words"):
            plotting.frame_slider(frames, ["a", "b"], alt)
    for first in (1.0, True, -1):
        with pytest.raises(ValueError, match="Expected first from 0 to 1"):
            plotting.frame_slider(frames, ["a", "b"], "a scene", first=first)
    with pytest.raises(ValueError, match=r"frames: expected values in \[0, 1\]"):
        plotting.frame_slider(frames * 2 - 1, ["a", "b"], "a scene")


def test_two_sliders_stand_over_a_grid_the_second_counting_fastest():
    frames = smooth_frames(6, 2, 8).reshape(2, 3, 2, 3, 8, 8)
    names, labels = ("scale", "share"), (["0", "1"], ["a", "b|c", "d"])
    page = Elements(plotting.grid_slider(frames, names, labels, "two scenes").data)
    said = [f"scale {a}, share {b}" for a in labels[0] for b in labels[1]]
    assert json.loads(page.of("output")[0]["data-texts"]) == said
    assert [img["alt"] for img in page.of("img")] == [f"two scenes ({text})" for text in said]
    for picture, frame in zip(page.of("img"), frames.reshape(6, 2, 3, 8, 8), strict=True):
        inner = frame[0].transpose(1, 2, 0)[2:-2, 2:-2]
        assert np.abs(decoded(picture)[2:-2, 2:6] - inner).max() < 0.06
    first, second = page.of("input")
    assert (first["max"], second["max"]) == ("1", "2")
    assert (first["aria-label"], second["aria-label"]) == names
    assert json.loads(second["data-labels"]) == ["a", "b|c", "d"]
    with pytest.raises(ValueError, match=r"got \(2, 3, 2, 3, 8, 8\), 2 names and \(2, 2\) labels"):
        plotting.grid_slider(frames, names, (["0", "1"], ["a", "b"]), "two scenes")


def test_a_grid_of_three_settings_begins_where_it_is_told_and_says_its_texts():
    frames = smooth_frames(12, 2, 8).reshape(2, 3, 2, 2, 3, 8, 8)
    names, labels = ("s", "k", "e"), (["0", "1"], ["a", "b", "c"], ["x", "y"])
    texts = np.arange(12).astype(str).reshape(2, 3, 2)
    settings = {"first": (1, 0, 1), "texts": texts, "above": frames[0, 0, 0]}
    page = Elements(plotting.grid_slider(frames, names, labels, "scenes", **settings).data)
    assert [one["value"] for one in page.of("input")] == ["1", "0", "1"]
    assert [one["aria-valuetext"] for one in page.of("input")] == ["1", "a", "y"]
    above, *pictures = page.of("img")
    assert len(pictures) == 12 and "display:block" in above["style"]
    shown = [k for k, img in enumerate(pictures) if "display:block" in img["style"]]
    assert shown == [1 * 6 + 0 * 2 + 1]
    assert json.loads(page.of("output")[0]["data-texts"])[7] == "s 1, k a, e y\n7"
    for wrong, message in (
        ({"first": (1, 0)}, "a place for each of the 3 settings"),
        ({"first": 1}, "a place for each of the 3 settings, got 1"),
        ({"first": (1, True, 0)}, "from 0 to 2; got True"),
        ({"first": (1, 3, 0)}, "from 0 to 2; got 3"),
        ({"texts": texts[0]}, r"texts: expected one for each frame, \(2, 3, 2\)"),
        ({"above": frames[0, 0, 0, :1]}, "above: expected images"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.grid_slider(frames, names, labels, "scenes", **(settings | wrong))


def test_a_slider_may_begin_at_the_frame_that_makes_the_point():
    frames = smooth_frames(3, 1, 8)[:, 0]
    page = Elements(plotting.frame_slider(frames, list("abc"), "a scene", first=2).data)
    assert ["display:block" in img["style"] for img in page.of("img")] == [False, False, True]
    (slider,) = page.of("input")
    assert (slider["value"], slider["aria-valuetext"]) == ("2", "c")
    with pytest.raises(ValueError, match="from 0 to 2; got 3"):
        plotting.frame_slider(frames, list("abc"), "a scene", first=3)
