import dataclasses
import json
from pathlib import Path

import pytest
import torch

from latentcortex import presets


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("LATENTCORTEX_PRESET", raising=False)
    monkeypatch.delenv("LATENTCORTEX_NSD", raising=False)


def test_the_default_is_mini_and_the_environment_changes_it(monkeypatch):
    assert presets.get().name == "mini"
    monkeypatch.setenv("LATENTCORTEX_PRESET", "sd14")
    assert presets.get().name == "sd14"
    assert presets.get("mini").name == "mini"


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'sd15'.*mini, sd14"):
        presets.get("sd15")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_fields_of_a_preset_are_possible(name):
    preset = presets.get(name)
    assert preset.name == name
    assert 0 < preset.strength <= 1
    assert 0 <= preset.guided_share <= 1
    assert preset.guidance_scale >= 1
    assert int(preset.n_steps * preset.strength) >= 1
    assert preset.image_size % preset.latent_shape[1] == 0
    assert isinstance(preset.dtype, torch.dtype)
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.strength = 1
    if "/" in preset.model and not Path(preset.model).is_absolute():
        assert len(preset.revision) == 40  # hub revisions are pinned


def test_the_data_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    preset = presets.get("sd14")
    with pytest.raises(ValueError, match="LATENTCORTEX_NSD"):
        preset.open()
    monkeypatch.setenv("LATENTCORTEX_NSD", str(tmp_path))
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(FileNotFoundError, match="nsddata_betas, nsddata_stimuli is not there"):
        preset.open()
    (tmp_path / "nsddata_betas").mkdir()
    (tmp_path / "nsddata_stimuli").mkdir()
    assert preset.open() == tmp_path
    assert dataclasses.replace(preset, data=str(tmp_path)).open() == tmp_path


def test_the_report_names_what_a_chapter_runs_on(capsys):
    presets.get().report()
    printed = capsys.readouterr().out
    for label in ("Preset", "Python", "torch", "GPU", "Memory", "dtype", "Data", "Minutes"):
        assert label + ":" in printed
    assert "simulated" in printed
    assert torch.__version__ in printed


def test_mini_describes_the_model_that_is_shipped():
    preset = presets.get("mini")
    folder = Path(preset.model)
    if not (folder / "unet" / "config.json").exists():
        pytest.skip("no model is shipped in mini/model")
    unet = json.loads((folder / "unet" / "config.json").read_text())
    text_encoder = json.loads((folder / "text_encoder" / "config.json").read_text())
    vae = json.loads((folder / "vae" / "config.json").read_text())
    downsampling = 2 ** (len(vae["block_out_channels"]) - 1)
    assert preset.latent_shape == (unet["in_channels"], unet["sample_size"], unet["sample_size"])
    assert preset.image_size == downsampling * preset.latent_shape[1]
    assert preset.n_tokens == text_encoder["max_position_embeddings"]


@pytest.mark.parametrize(("of_reader", "expected"), [(None, 1), ("3", 2)])
def test_mini_computes_on_one_thread_unless_the_reader_says_otherwise(monkeypatch, of_reader, expected):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if of_reader is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", of_reader)
    try:
        torch.set_num_threads(2)
        presets.get("sd14")
        assert torch.get_num_threads() == 2
        presets.get("mini")
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
