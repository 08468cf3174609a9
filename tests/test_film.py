"""The film: what lies in the page, and in a browser what moves, when, and how it is stopped."""

import base64
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from viewer_pages import Elements

from latentcortex import plotting

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
N, H, W = 3, 8, 12
CAPTIONS = ["seen", "drawn"]
ALT = "Grey levels, one per frame"


def grey_frames():
    """Frame k is of one grey, k / 4, in the first image, and 1 - k / 4 in the second."""
    levels = np.arange(N) / 4
    return np.broadcast_to(np.stack([levels, 1 - levels], 1)[:, :, None, None, None], (N, 2, 3, H, W))


def pictures_of(page):
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(img["src"].split(",")[1])))) / 255
        for img in page.of("img")
    ]


def test_film_holds_every_frame_of_every_image_in_order():
    page = Elements(plotting.film(grey_frames(), CAPTIONS, ALT).data)
    for k, picture in enumerate(pictures_of(page)):
        assert picture.shape == (N * (H + 4), W, 3)
        rows = picture.reshape(N, H + 4, -1).mean(axis=(1, 2))
        np.testing.assert_allclose(rows, grey_frames()[:, k, 0, 0, 0], atol=0.01)


def test_without_scripts_the_last_frame_is_seen_and_there_is_no_button():
    page = Elements(plotting.film(grey_frames(), CAPTIONS, ALT, order=[0, 2, 1]).data)
    # Frame 1 of three that are 12 rows high, below its margin of 2 rows.
    assert all(f"translateY(-{100 * 14 / 36:.4f}%)" in img["style"] for img in page.of("img"))
    (button,) = page.of("button")
    assert "hidden" in button


def test_film_is_described_once_asks_nothing_of_anybody_and_uses_no_ids():
    text = plotting.film(grey_frames(), CAPTIONS, 'say "grey"').data
    page = Elements(text)
    assert [img["alt"] for img in page.of("img")] == ["", 'say "grey"']
    assert not any("id" in attrs for _, attrs in page.found)
    assert all(img["src"].startswith("data:") for img in page.of("img"))
    assert "http" not in re.sub(r'src="[^"]*"', "", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": grey_frames()[0]}, "n_frames, n_images, 3, h, w"),
        ({"frames": grey_frames() * 255}, "values in \\[0, 1\\]"),
        ({"frames": np.ma.masked_less(grey_frames(), 0.2)}, "masked"),
        ({"captions": ["seen"]}, "2 captions, one per image; got 1"),
        ({"alt": " "}, "alt to describe"),
        ({"alt": None}, "alt to describe"),
        ({"order": []}, "order of frames from 0 to 2"),
        ({"order": [0, 3]}, "order of frames from 0 to 2"),
        ({"seconds": 0.05}, "at least 0.1 s"),
        ({"image_width": 0}, "width above 0"),
    ],
)
def test_what_is_no_film_is_refused(change, message):
    arguments = {"frames": grey_frames(), "captions": CAPTIONS, "alt": ALT, **change}
    with pytest.raises(ValueError, match=message):
        plotting.film(**arguments)


def seen_in_a_browser(folder, *options):
    """Return the button and the place of the picture: after a second, and half a second after a click."""
    script = """
    const look = () => {
      const button = document.querySelector('button');
      const places = [...document.querySelectorAll('img')].map(img => img.style.transform);
      return [button.textContent, button.hidden, places];
    };
    const seen = {};
    new MutationObserver(() => { seen[look()[2][1]] = 1; }).observe(
      document.querySelectorAll('img')[1], { attributes: true });
    setTimeout(() => {
      const first = look(), moved = Object.keys(seen).length;
      document.querySelector('button').click();
      const still = look()[2][1];
      setTimeout(() => {
        const answer = { first: first, moved: moved, then: look(), kept: look()[2][1] === still };
        document.getElementById('out').textContent = JSON.stringify(answer);
      }, 500);
    }, 1200);
    """
    body = plotting.film(grey_frames(), CAPTIONS, ALT, seconds=0.2).data
    path = folder / "page.html"
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="out"></pre>{body}<script>{script}</script>'
    )
    command = [BROWSER, "--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", *options]
    command += ["--virtual-time-budget=6000", "--dump-dom", path.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True).stdout
    return json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', answer, re.S)[1]))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_film_runs_shows_every_frame_and_stops_at_the_button(tmp_path):
    said = seen_in_a_browser(tmp_path)
    assert said["first"][:2] == ["Pause", False] and said["moved"] == N
    assert said["first"][2][0] == said["first"][2][1], "both images show the same frame"
    assert said["then"][0] == "Play" and said["kept"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_film_stands_still_where_less_motion_is_asked_for_until_the_button_starts_it(tmp_path):
    said = seen_in_a_browser(tmp_path, "--force-prefers-reduced-motion")
    assert said["first"][:2] == ["Play", False] and said["moved"] == 0
    assert said["then"][0] == "Pause" and not said["kept"]
