"""The cortex to turn: what travels with a page is what was passed in, and bad input is named."""

import base64
import dataclasses
import json
import re
import sys
import types

import numpy as np
import pytest
from nilearn import datasets, surface
from viewer_pages import WORDS, Elements, map_of, some_regions

from latentcortex import plotting
from latentcortex.plotting.viewer import COORDINATE_STEP, MISSING, mesh_bytes

N = 10_242


def decoded(page, name):
    (box,) = [a for a in Elements(page).of("div") if a.get("class") == "latentcortex-cortex"]
    return np.frombuffer(base64.b64decode(box[f"data-{name}"]), "<u2")


def setup_of(page):
    (box,) = [a for a in Elements(page).of("div") if a.get("class") == "latentcortex-cortex"]
    return json.loads(box["data-setup"])


@pytest.fixture(scope="module")
def page():
    return plotting.cortex_viewer(map_of(), rois=some_regions(), **WORDS).data


@pytest.fixture(scope="module")
def mesh():
    """The parts of the mesh as their documentation lays them out."""
    data, at, parts = mesh_bytes(), 0, {}
    for name, kind, shape in (
        ("pial", "<i2", (2 * N, 3)),
        ("infl", "<i2", (2 * N, 3)),
        ("flat", "<i2", (2 * N, 2)),
        ("faces", "<u2", (20_480, 3)),
        ("in_flat", "u1", (5_120,)),
        ("sulci", "u1", (2 * N,)),
    ):
        part = np.frombuffer(data, kind, int(np.prod(shape)), at)
        at += part.nbytes
        parts[name] = part.reshape(shape)
    assert at == len(data)
    return parts


def nilearns(kind):
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    return [surface.load_surf_mesh(files[f"{kind}_{side}"]) for side in ("left", "right")]


@pytest.mark.parametrize("kind", ["pial", "infl", "flat"])
def test_coordinates_are_nilearns_to_half_a_step(mesh, kind):
    expected = np.concatenate([one.coordinates for one in nilearns(kind)])
    given = mesh[kind] * COORDINATE_STEP
    assert np.abs(given - expected[:, : given.shape[1]]).max() <= COORDINATE_STEP / 2 * 1.001


def test_faces_are_nilearns_on_every_surface(mesh):
    for kind in ("pial", "infl"):
        for one in nilearns(kind):
            np.testing.assert_array_equal(mesh["faces"], one.faces)
    bits = np.unpackbits(mesh["in_flat"]).astype(bool).reshape(2, -1)
    for kept, one in zip(bits, nilearns("flat"), strict=True):
        assert {frozenset(f) for f in mesh["faces"][kept]} == {frozenset(f) for f in one.faces}


def test_sulci_are_told_from_gyri(mesh):
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    depth = np.concatenate([surface.load_surf_data(files[f"sulc_{side}"]) for side in ("left", "right")])
    clear = np.abs(depth) > 0.01 * np.abs(depth).max()
    np.testing.assert_array_equal(mesh["sulci"][clear] > 128, depth[clear] > 0)


def test_a_page_takes_less_than_1_mb_on_top_of_its_values(page):
    (box,) = [a for a in Elements(page).of("div") if a.get("class") == "latentcortex-cortex"]
    assert len(box["data-mesh"]) < 0.66e6
    assert len(page) - len(box["data-values"]) < 1e6


def test_values_are_right_to_half_a_step_and_nan_stays_nan(rng):
    values = rng.normal(0, 3, (3, 2 * N))
    values[:, rng.random(2 * N) < 0.7] = np.nan  # in every frame
    values[rng.random(values.shape) < 0.1] = np.nan
    frames = plotting.VertexMap(values, "r", frames=list("abc"))
    page = plotting.cortex_viewer(frames, **WORDS).data
    setup, words = setup_of(page), decoded(page, "values")
    n = setup["nVertices"]
    vertices, steps = words[:n].astype(int), words[n:].reshape(3, n)
    np.testing.assert_array_equal(vertices, np.flatnonzero(np.isfinite(values).any(axis=0)))
    low, high = setup["maps"][0]["low"], setup["maps"][0]["high"]
    assert (low, high) == (np.nanmin(values), np.nanmax(values))
    given = np.where(steps == MISSING, np.nan, low + steps / 65_534 * (high - low))
    np.testing.assert_array_equal(np.isnan(given), np.isnan(values[:, vertices]))
    assert np.nanmax(np.abs(given - values[:, vertices])) <= (high - low) / 131_068 * 1.001


def test_ceilings_and_regions_follow_the_values(rng):
    values, shares = np.full(2 * N, np.nan), rng.random(2 * N)
    values[[5, 70, N + 3]] = (1, 2, 3)
    shares[70] = np.nan
    page = plotting.cortex_viewer(
        plotting.VertexMap(values, "r"), rois=some_regions(), ceiling=shares, **WORDS
    ).data
    words = decoded(page, "values")
    np.testing.assert_array_equal(words[:6], [5, 70, N + 3, 0, 32_767, 65_534])
    np.testing.assert_allclose(words[[6, 8]] / 65_534, shares[[5, N + 3]], atol=1e-5)
    assert words[7] == MISSING
    regions = setup_of(page)["regions"]
    at = 9
    for region, (name, mask) in zip(regions, some_regions().items(), strict=True):
        assert region["name"] == name
        np.testing.assert_array_equal(words[at : at + region["n"]], np.flatnonzero(mask))
        at += region["n"]
    assert at == len(words)


def test_vertices_of_fsaverage_are_thinned_to_fsaverage5(rng):
    fine = np.full(2 * 163_842, 99.0)
    coarse = rng.random(2 * N)
    fine[:N], fine[163_842 : 163_842 + N] = coarse[:N], coarse[N:]
    pages = [plotting.cortex_viewer(plotting.VertexMap(v, "r"), **WORDS).data for v in (coarse, fine)]
    np.testing.assert_array_equal(decoded(pages[0], "values"), decoded(pages[1], "values"))


def test_one_value_everywhere_and_none_at_all_can_be_shown():
    for values in (np.ones(2 * N), np.full(2 * N, np.nan)):
        page = plotting.cortex_viewer(plotting.VertexMap(values, "r"), **WORDS).data
        assert setup_of(page)["maps"][0]["high"] > setup_of(page)["maps"][0]["low"]


def test_the_page_asks_nothing_of_anybody_and_uses_no_ids(page):
    markup = re.sub(r'(base64,|data-[a-z]+=")[^"]+', "", page)
    assert not re.search(r"https?:|src=\"(?!data:)|import\s*\(|fetch\s*\(", markup)
    assert not any("id" in attributes for _, attributes in Elements(page).found)
    script = re.search(r"<script>(.*)</script>$", page, re.S)[1]
    assert "</script" not in script and "<!--" not in script


def test_a_reader_without_scripts_has_a_title_and_a_picture_in_words():
    words = {"title": "z < c & more", "alt": 'V1 is "red"'}
    elements = Elements(plotting.cortex_viewer(map_of(), **words).data)
    (picture,) = elements.of("img")
    assert picture["alt"] == words["alt"]
    assert base64.b64decode(picture["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    groups = [a for a in elements.of("div") if a.get("role") == "group"]
    assert groups[0]["aria-label"] == words["title"]
    assert len(elements.of("noscript")) == 1


def test_a_second_viewer_can_leave_the_mesh_to_the_first_but_not_in_colab(monkeypatch):
    with_mesh = plotting.cortex_viewer(map_of(), **WORDS).data
    without = plotting.cortex_viewer(map_of(), with_mesh=False, **WORDS).data
    assert "data-mesh" not in without
    assert len(with_mesh) - len(without) > 0.6e6
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert plotting.cortex_viewer(map_of(), with_mesh=False, **WORDS).data == with_mesh


ONE = np.zeros(2 * N)
INFINITE, MASKED = ONE.copy(), np.ma.array(ONE, mask=np.arange(2 * N) == 5)
INFINITE[9] = np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(N)}, r"r, frame 0: expected one value per vertex.*got \(10242,\)"),
        ({"values": np.zeros((2, 2, N))}, r"r: expected values of the shape .* got \(2, 2, 10242\)"),
        ({"values": np.zeros((0, 2 * N))}, r"r: expected values of the shape"),
        ({"values": INFINITE}, "1 of 20,484 values are infinite, the first at vertex 9"),
        ({"values": MASKED}, "r is a masked array with 1 masked"),
        ({"values": ONE.astype(str)}, "expected numbers"),
        ({"values": np.zeros((3, 2 * N)), "frames": ("a", "b")}, "expected 3 labels of frames.*got 2"),
        ({"values": np.zeros((3, 2 * N))}, "expected 3 labels of frames.*got 0"),
        ({"values": ONE, "frames": ("a", "b")}, "expected 1 labels of frames.*got 2"),
        ({"values": ONE + 2, "names": ("z", "c")}, "whole numbers from 0 to 1"),
        ({"values": ONE + 0.5, "names": ("z", "c")}, "whole numbers from 0 to 1"),
        ({"values": ONE, "names": tuple("abcdefgh")}, "7 colours .* and 8 names"),
        (
            {"values": ONE, "names": ("z", "c"), "confidence": ONE[:9]},
            r"confidence of the shape .* got \(9,\)",
        ),
        ({"values": ONE, "names": ("z", "c"), "confidence": ONE + 2}, "confidence from 0 to 1"),
        ({"values": ONE, "names": ("z", "c"), "confidence": ONE + np.nan}, "confidence from 0 to 1"),
        ({"values": ONE, "confidence": ONE}, "only a map of winners"),
        ({"values": ONE, "limits": (1, 0)}, "limits must be two finite numbers"),
        ({"values": ONE, "centre": np.nan}, "centre must be a finite number"),
    ],
)
def test_maps_of_the_viewer_say_what_is_wrong(change, message):
    one = dataclasses.replace(plotting.VertexMap(ONE, "r"), **change)
    with pytest.raises(ValueError, match=message):
        plotting.cortex_viewer(one, **WORDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alt": " "}, "Expected alt to describe"),
        ({"alt": None}, "Expected alt to describe .* got None"),
        ({"title": ""}, "Expected title to describe"),
        ({"shape": "sphere"}, "shape of pial, inflated, flat; got 'sphere'"),
        ({"ceiling": np.full(2 * N, 35.0)}, "ceiling: expected shares .* Divide per cent by 100"),
        ({"ceiling": np.zeros(7)}, r"ceiling: expected one value per vertex.*got \(7,\)"),
        ({"rois": {"V1": np.zeros(2 * N)}}, "V1: expected a mask of bool"),
        ({"first_frame": 1}, "first_frame from 0 to 0; got 1"),
        ({"first_frame": -1}, "first_frame from 0 to 0; got -1"),
        ({"first_frame": 0.0}, "first_frame from 0 to 0; got 0.0"),
        ({"first_frame": False}, "first_frame from 0 to 0; got False"),
        ({"maps": {}}, "maps: expected a VertexMap"),
        ({"maps": ONE}, "maps: expected a VertexMap"),
        ({"maps": {"r": ONE}}, "maps: expected a VertexMap"),
    ],
)
def test_the_viewer_says_what_is_wrong(change, message):
    arguments = {"maps": plotting.VertexMap(ONE, "r"), **WORDS, **change}
    with pytest.raises(ValueError, match=message):
        plotting.cortex_viewer(arguments.pop("maps"), **arguments)
