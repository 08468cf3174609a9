"""The cortex to turn, turned: a browser runs the viewer and writes what it shows into the page."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from viewer_pages import WORDS, back_to_front, map_of, some_regions

from latentcortex import plotting

N = 10_242
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
HEAD = '<!doctype html><meta charset="utf-8"><body style="width:600px"><pre id="out"></pre>'
SAY = """
const say = answer => { document.getElementById('out').textContent = JSON.stringify(answer); };
addEventListener('error', event => say({ error: event.message, line: event.lineno }));
"""
BOXES = "const boxes = [...document.querySelectorAll('.latentcortex-cortex')];"
# What a reader of each box has: the cortex (yes), the still picture and a line that says why.
SHOWN = """say(boxes.map(box => ({
  live: box.dataset.live || 'no',
  picture: getComputedStyle(box.querySelector('img')).display !== 'none',
  controls: getComputedStyle(box.querySelector('.lc-live')).display !== 'none',
  line: box.querySelector('.lc-problem').hidden ? '' : box.querySelector('.lc-problem').textContent,
})));"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


def best_of():
    """The winner at each vertex of the map, of two."""
    values = map_of().values
    return np.where(np.isnan(values), np.nan, values > 0)


def run(folder, body, script, options=WEBGL):
    """Open a page in a browser without a network; return what its script says."""
    page = folder / "page.html"
    page.write_text(f"{HEAD}{body}<script>{{{SAY}{BOXES}{script}}}</script>", "utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", *options]
    command += ["--virtual-time-budget=6000", "--dump-dom", page.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True).stdout
    said = json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', answer, re.S)[1]))
    assert "error" not in said, said
    return said


@pytest.fixture(scope="module")
def viewer():
    """A page with two maps, one of three frames, and one map of winners."""
    one = map_of()
    frames = np.array([one.values, one.values * 0.5, -one.values])
    maps = {
        "single": one,
        "moving": plotting.VertexMap(frames, "r", frames=("low", "middle", "high"), limits=(-1, 1)),
        "best": plotting.VertexMap(best_of(), "best", names="zc"),
        "pale": plotting.VertexMap(best_of(), "best", names="zc", confidence=np.full(2 * N, 0.5)),
    }
    shares = np.linspace(0, 1, 2 * N)
    return plotting.cortex_viewer(maps, rois=some_regions(), ceiling=shares, frame_name="noise", **WORDS).data


MEASURE = Path(__file__).with_name("viewer_measure.js").read_text("utf-8")


@pytest.fixture(scope="module")
def said(viewer, tmp_path_factory):
    return run(tmp_path_factory.mktemp("browser"), viewer, MEASURE)


def test_the_browser_holds_the_values_that_were_passed_in(said):
    one = map_of().values
    given = np.array(said["values"][1], dtype=float)
    for frame, expected in zip(given, (one, one * 0.5, -one), strict=True):
        np.testing.assert_array_equal(np.isnan(frame), np.isnan(expected))
        assert np.nanmax(np.abs(frame - expected)) < 2 / 131_068 + 1e-6


def test_what_lies_under_the_cursor_is_the_nearest_vertex_of_the_triangle_drawn_there(said):
    assert len(said["faces"]) > 200
    np.testing.assert_array_equal(said["picked"], np.array(said["faces"])[:, 0])
    assert said["lastPicked"] == said["last"]
    assert said["besides"] == [-1, "Point at a vertex to read its value."]


def test_a_triangle_has_the_colour_of_its_corners_or_the_grey_of_bare_cortex(said):
    corners = map_of().values[np.array(said["faces"])]
    known = np.isfinite(corners).all(axis=1)
    assert known.sum() > 100 and (~known).sum() > 20
    rgb, opaque = np.split(np.array(said["colours"]), [3], axis=1)
    assert (opaque == 255).all()
    bare = rgb[~known]
    assert {tuple(colour) for colour in bare} == {(158,) * 3, (204,) * 3}
    of_corners = matplotlib.colormaps["viridis"]((corners[known] + 1) / 2)[..., :3] * 255
    expected = (of_corners * np.array(said["weights"])[known, :, None]).sum(axis=1)
    assert np.abs(rgb[known] - expected).max() < 3


def test_winners_are_not_mixed_where_they_meet(said):
    corners = map_of().values[np.array(said["faces"])]
    known = np.isfinite(corners).all(axis=1)
    found = np.array(said["winnerColours"])[known, :3]
    # Whole triangles, in the colour of one corner: which, is for WebGL to choose.
    expected = np.where(corners[known, 2:] > 0, (230, 159, 0), (0, 114, 178))
    np.testing.assert_array_equal(found, expected)
    pale = np.array(said["paleColours"])[known, :3]
    assert np.abs(255 - pale - 0.6 * (255 - expected)).max() < 1.5
    assert "z · confidence 50 % ·" in said["paleText"] or "c · confidence 50 % ·" in said["paleText"]
    mixed = (corners[known] > 0).any(axis=1) & (corners[known] < 0).any(axis=1)
    assert mixed.sum() > 20


def test_a_vertex_is_described_with_value_regions_and_ceiling(said):
    vertex, one = said["last"], map_of().values
    assert back_to_front()[vertex] > 90
    assert said["text"] == (
        f"{one[vertex]:.2f} r · back, pole · noise ceiling {100 * vertex / (2 * N - 1):.0f} % · "
        f"left hemisphere, vertex {vertex}"
    )


def test_keys_turn_zoom_and_reset(said):
    start = {"yaw": 0, "pitch": 0, "zoom": 1, "pan": [0, 0]}
    assert said["start"] == said["reset"] == start
    assert said["turned"] == {"yaw": 10, "pitch": 10, "zoom": 1.2, "pan": [0, 0]}
    assert said["afterCtrl"] == said["turned"]  # the browser's own keys
    assert said["flatPan"]["pan"][0] < 0 and said["flatPan"]["yaw"] == 0
    assert said["canvas"] == [0, WORDS["alt"]]
    assert said["middle"] == ["In the middle: no vertex", True]


def test_mouse_and_fingers_turn_and_zoom(said):
    assert said["dragged"] == {"yaw": 20, "pitch": -5, "zoom": 1, "pan": [0, 0]}
    assert said["pinched"] == {"yaw": 0, "pitch": 0, "zoom": 2, "pan": [0, 0]}


def test_a_reader_who_scrolls_past_is_not_held_up(said):
    assert said["wheelPast"] and said["zoomPast"] == 1  # the page scrolls
    assert not said["wheelFocused"] and said["zoomFocused"] > 1


def test_maps_and_frames_are_chosen_and_played(said):
    assert said["labels"] == [["low", "low", 0], ["middle", "middle", 1], ["high", "high", 2]]
    assert said["noise"] == ["2", "noise"]
    assert said["shape"] == [0.5, "between pial and inflated"]
    assert said["bar"].split() == ["-1", "1", "r"]
    assert said["played"] == 2


def test_viewers_share_the_mesh_whichever_comes_first_and_one_may_be_shown_twice(viewer, tmp_path):
    without = plotting.cortex_viewer(map_of(), with_mesh=False, **WORDS).data
    body = without + viewer + without + viewer
    one_mesh = SHOWN.replace("({", "({mesh: box.latentcortex.mesh === boxes[0].latentcortex.mesh,")
    answer = run(tmp_path, body, one_mesh)
    assert answer == [{"mesh": True, "live": "yes", "picture": False, "controls": True, "line": ""}] * 4


def test_a_viewer_starts_with_the_frame_asked_for(tmp_path):
    one = map_of()
    moving = plotting.VertexMap(np.array([one.values, -one.values]), "r", frames=("low", "high"))
    pages = [plotting.cortex_viewer(moving, first_frame=k, **WORDS).data for k in (0, 1)]
    tell = "say(boxes.map(box => [box.latentcortex.state.frame, box.querySelector('.lc-live').textContent]));"
    (first, _), (second, text) = run(tmp_path, "".join(pages), tell)
    assert (first, second) == (0, 1) and "high" in text
    pictures = [re.search(r'<img[^>]*src="([^"]+)"', page)[1] for page in pages]
    assert pictures[0] != pictures[1]


def test_a_viewer_without_a_mesh_keeps_its_picture_and_says_where_the_mesh_is(tmp_path):
    without = plotting.cortex_viewer(map_of(), with_mesh=False, **WORDS).data
    (answer,) = run(tmp_path, without, SHOWN)
    assert (answer["live"], answer["picture"], answer["controls"]) == ("no", True, False)
    assert "another viewer of the page" in answer["line"]


def test_without_webgl_the_picture_stays_and_a_line_says_so(viewer, tmp_path):
    (answer,) = run(tmp_path, viewer, SHOWN, options=("--disable-gpu", "--disable-3d-apis"))
    assert (answer["live"], answer["picture"], answer["controls"]) == ("no", True, False)
    assert "no WebGL 2" in answer["line"]


def test_it_works_in_a_sandboxed_frame_as_colab_has_them(viewer, tmp_path):
    tell = "parent.postMessage(document.querySelector('.latentcortex-cortex').dataset.live || 'no', '*')"
    inner = html.escape(viewer + f"<script>{tell}</script>")
    listen = "addEventListener('message', event => say(event.data));"
    frame = f'<iframe sandbox="allow-scripts" width="600" srcdoc="{inner}"></iframe>'
    assert run(tmp_path, f"<script>{SAY}{listen}</script>{frame}", "") == "yes"


def test_it_starts_where_scripts_are_made_again_before_they_are_shown_as_in_jupyterlab(viewer, tmp_path):
    script = f"""
    const host = document.createElement('div');
    host.innerHTML = {json.dumps(viewer).replace("</", "<" + chr(92) + "/")};
    for (const old of host.querySelectorAll('script')) {{
      const made = document.createElement('script');
      made.textContent = old.textContent;
      old.replaceWith(made);
    }}
    document.body.append(host);
    say(host.querySelector('.latentcortex-cortex').dataset.live || 'no');"""
    assert run(tmp_path, "", script) == "yes"
