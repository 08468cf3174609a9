"""Networks that can't be loaded are named before the first computation, with what to do."""

import dataclasses
import tracemalloc
import urllib.request

import numpy as np
import pytest
import torch

from latentcortex import metrics, presets
from latentcortex.studies import availability, image_rows, scores
from latentcortex.studies.availability import check_networks
from latentcortex.studies.kept import Shelf

ALL = ("vae", "unet", "text_encoder", "tokenizer", "scheduler", "tiny_vae", "guide", "judge", "alexnet")


@pytest.fixture(autouse=True)
def forget():
    availability._check_hub.cache_clear()
    availability._check_address.cache_clear()


@pytest.fixture
def asked(monkeypatch):
    """Files that the hub's cache is asked for; it has those that are put into ``there``."""

    class Asked(list):
        there = set()

    asked = Asked()

    def look(repository, file, revision):
        asked.append((repository, file, revision))
        return "/cache/file" if (repository, file) in asked.there else None

    def offline(*_, **__):
        raise ConnectionError("Name or service not known\nand more")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", offline)
    return asked


def test_networks_on_disk_are_there(asked):
    check_networks(presets.get("mini"), ALL)
    assert asked == []


def test_a_model_that_is_nowhere_is_named_with_what_to_do(asked):
    preset = presets.get("sd14")
    with pytest.raises(RuntimeError) as told:
        check_networks(preset, ["unet"])
    assert asked == [(preset.model, "unet/config.json", preset.revision)]
    for words in ("model is 'CompVis/", "Name or service", preset.revision, "hf download", "HF_HUB_OFFLINE"):
        assert words in str(told.value)
    assert "and more" not in str(told.value)


def test_what_lies_in_the_cache_needs_no_network(asked):
    preset = dataclasses.replace(presets.get("sd14"), tiny_vae="owner/tiny", tiny_vae_revision="abc")
    asked.there = {
        (preset.model, "vae/config.json"),
        ("owner/tiny", "config.json"),
        ("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),
    }
    check_networks(preset, ["vae", "tiny_vae", "guide"])
    assert ("owner/tiny", "config.json", "abc") in asked
    with pytest.raises(RuntimeError, match="judge is 'timm/vit_large_patch14_clip_224.openai'"):
        check_networks(preset, ["judge"])


@pytest.fixture
def addresses(monkeypatch, tmp_path, asked):
    """Addresses asked for without a network; the hub's cache holds the CLIP, torch's holds nothing."""
    found = []
    asked.there = {("timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors")}
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(request, timeout):
        found.append((request.get_method(), request.full_url, timeout))
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    return found


def test_a_network_of_the_scores_that_is_nowhere_is_named_before_anything_is_drawn(addresses, tmp_path):
    with pytest.raises(RuntimeError, match="need the network alexnet") as told:
        check_networks(presets.get("sd14"), ["judge"])
    assert addresses == [("HEAD", metrics.source_of_weights("alexnet"), availability._SECONDS)]
    kept = tmp_path / "checkpoints" / addresses[0][1].rpartition("/")[2]
    for words in (str(kept), "Name or service", "`judge` a folder with alexnet.safetensors"):
        assert words in str(told.value)


def test_weights_in_the_cache_of_torch_or_in_the_folder_of_the_judge_need_no_network(addresses, tmp_path):
    preset, judge = presets.get("sd14"), tmp_path / "judge"
    names = [name for name in metrics.NETWORKS if name not in ("clip_vit_l_14", "efficientnet_b1_v1")]
    (tmp_path / "checkpoints").mkdir()
    for name in names:
        (tmp_path / "checkpoints" / metrics.source_of_weights(name).rpartition("/")[2]).touch()
    check_networks(preset, ["judge"])
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    judge.mkdir()
    for name in (*names, "clip_vit_l_14"):
        (judge / f"{name}.safetensors").touch()
    check_networks(dataclasses.replace(preset, judge=str(judge)), ["judge"])
    assert addresses == []


def test_the_networks_of_the_scores_come_from_the_folder_of_the_judge(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(metrics, "load_network", lambda *of: asked.append(of) or of)
    for judge, folder in ((str(tmp_path), str(tmp_path)), ("ViT-L-14-quickgelu/openai", None)):
        preset = dataclasses.replace(presets.get("sd14"), judge=judge)
        names = {one.network for one in metrics.PROTOCOLS["mindeye2"].scores if one.network}
        assert set(scores.instruments(preset)) == names
        assert {of[:3] for of in asked} == {(name, folder, True) for name in names}
        asked.clear()


@pytest.mark.usefixtures("asked")
def test_the_hub_is_asked_once_where_it_answers(monkeypatch):
    answered = []
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, **_: answered.append(url))
    for _ in range(2):
        check_networks(presets.get("sd14"), ["unet"])
    assert len(answered) == 1 and "unet/config.json" in answered[0]


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("field", ["guide", "judge"])
def test_a_network_that_open_clip_does_not_know_is_refused(field):
    preset = dataclasses.replace(presets.get("sd14"), **{field: "ViT-B-32-quickgelu/nobody"})
    with pytest.raises(ValueError, match=f"{field} is 'ViT-B-32-quickgelu/nobody', which is no folder"):
        check_networks(preset, [field])


@pytest.mark.usefixtures("asked")
def test_a_study_looks_before_it_names_its_networks(study):
    there = dataclasses.replace(study, preset=dataclasses.replace(study.preset, model="owner/model"))
    with pytest.raises(RuntimeError, match="model is 'owner/model'"):
        there.description("vae")


def test_features_that_would_fill_the_disk_are_refused_after_the_first_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    shelf, computed = Shelf("targets-clip", "0" * 64, {}), []

    def compute(ids):
        computed.append(len(ids))
        return {"g1": np.zeros((len(ids), 1000), np.float32)}

    free = []
    monkeypatch.setattr("latentcortex.store.check_space", lambda *of: free.append(of[1:]))
    image_rows.read_rows(shelf, compute, np.arange(100), ["g1"], 10)
    assert (
        len(free) == 1 and 90 * 4000 < free[0][0] < 90 * 4400 and free[0][1] == "targets-clip of 100 images"
    )

    def full(*_):
        raise OSError("targets-clip of 90 images needs 3 GB")

    monkeypatch.setattr("latentcortex.store.check_space", full)
    with pytest.raises(OSError, match="needs 3 GB"):
        image_rows.read_rows(shelf, compute, np.arange(200), ["g1"], 10)
    assert computed == [10] * 11  # what was computed is kept


def test_rows_are_read_in_the_order_asked_for_without_holding_them_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    shelf, n = Shelf("targets-clip", "0" * 64, {}), 60_000  # numbers of an image

    def compute(ids):
        return {"g1": np.repeat(np.asarray(ids, np.float32)[:, None], n, axis=1)}

    image_rows.read_rows(shelf, compute, np.array([9, 3, 7, 1]), ["g1"], 2)
    order = np.arange(40)[::-1].copy()
    image_rows.read_rows(shelf, compute, order, ["g1"], 2)
    tracemalloc.start()
    ids, arrays = image_rows.read_rows(shelf, compute, order, ["g1"], 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(arrays["g1"][:, 5], order)
    assert peak < 1.5 * arrays["g1"].nbytes


@pytest.mark.parametrize("ask", [lambda preset: check_networks(preset, ["judge"]), scores.instruments])
def test_an_unknown_protocol_is_refused_by_name(ask):
    preset = dataclasses.replace(presets.get("mini"), protocol="mindeye3")
    with pytest.raises(ValueError, match="no protocol 'mindeye3'. Protocols: mindeye2"):
        ask(preset)
