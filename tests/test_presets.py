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


@pytest.mark.parametrize("name", presets.NAMES)
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


@pytest.fixture
def written(tmp_path):
    def write(text, name="my.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_file_of_settings_builds_on_a_preset_and_says_what_differs(written, monkeypatch, tmp_path):
    text = """
        base = "sd14"
        data = "./tree"
        subjects = [3]
        sessions = [1, 2]
        alphas = [1, 10.5]
        n_threads = 2
        revision = "none"
        dtype = "bfloat16"
    """
    preset, base = presets.get(written(text)), presets.get("sd14")
    changed = {
        "name": "my",
        "data": str(tmp_path / "tree"),
        "subjects": (3,),
        "sessions": (1, 2),
        "alphas": (1.0, 10.5),
        "n_threads": 2,
        "revision": None,
        "dtype": torch.bfloat16,
    }
    assert preset == dataclasses.replace(base, **changed)
    monkeypatch.setenv("LATENTCORTEX_PRESET", str(tmp_path / "my.toml"))
    assert presets.get() == preset
    (tmp_path / "sub").mkdir()
    other = written('base = "../my.toml"\nstrength = 1', "sub/other.toml")
    assert presets.get(other) == dataclasses.replace(preset, name="other", strength=1.0)
    hash(preset)  # studies are kept by it


WRONG = {
    'base = "mini"\nstrenght = 0.5': r"my.toml has the unknown field strenght\. Fields: base, .*strength",
    'base = "mini"\nstrength = "0.5"': r"strength in .*my.toml is '0.5': expected a number",
    'base = "mini"\nstrength = true': r"strength in .* is True: expected a number",
    'base = "mini"\nrescale = 1': "rescale in .* is 1: expected true or false",
    'base = "mini"\nn_steps = 20.0': r"n_steps in .* is 20.0: expected a whole number",
    'base = "mini"\nsubjects = 1': r"subjects in .* is 1: expected a list, each a whole number\.",
    'base = "mini"\nsubjects = [1, "2"]': "subjects in .* expected a list, each a whole number",
    'base = "mini"\nsessions = 8': 'sessions in .* expected a list, each a whole number or "none"',
    'base = "mini"\ndtype = "half"': "dtype in .* is 'half': expected auto, float32",
    'base = "mini"\nstrength = nan': "my.toml: strength of the preset 'my' is nan: expected a share",
    'base = "mini"\nstrength = 0': "strength of the preset 'my' is 0.0",
    'base = "mini"\nguidance_scale = inf': "guidance_scale of the preset 'my' is inf",
    'base = "mini"\nfeature_scale = nan': "feature_scale of the preset 'my' is nan",
    'base = "mini"\nalphas = [1, nan]': "alphas of the preset 'my'",
    'base = "mini"\nsubjects = [1, 1]': "subjects of the preset 'my'",
    'base = "mini"\nsessions = []': "sessions of the preset 'my'",
    'base = "mini"\nlatent_shape = [4, 16]': "latent_shape of the preset 'my'",
    'base = "mini"\nimage_size = 60': "image_size of the preset 'my' is 60, which is no multiple",
    'base = "mini"\nbatch_size = 0': "batch_size of the preset 'my' is 0",
    'base = "mini"\ndata = ""': "data of the preset 'my' is '': expected a folder",
    'base = "sd14"\nmodel = ""': "model of the preset 'my' is ''",
    'base = "sd14"\nspace = "fsaverage6"': "space of the preset 'my' is 'fsaverage6': expected one of",
    'base = "mini"\nname = "other"': "unknown field name",
    "base = 3": "base in .*my.toml is 3",
    'base = "min"': r"no preset 'min'.*line base in .*my.toml",
    'base = "absent.toml"': r"No file of settings at .*absent.toml.*line base in",
    'base = "my.toml"': "builds on itself",
    "strength = 0.5": 'my.toml lacks .*data.*Begin it with a line base = "sd14"',
    "strength: 0.5": "my.toml is not TOML",
}


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_file_with_the_name_of_a_preset_is_refused(written, name):
    with pytest.raises(ValueError, match=f"Call it otherwise, for example my-{name}.toml"):
        presets.get(written('base = "mini"\nstrength = 0.5', f"{name}.toml"))


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_wrong_file_of_settings_is_refused_by_name(written, text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        presets.get(written(text))


def test_a_file_of_settings_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_PRESET", "absent.toml")
    with pytest.raises(FileNotFoundError, match=r"absent.toml.*LATENTCORTEX_PRESET"):
        presets.get()


@pytest.mark.parametrize(
    ("gpu", "native", "expected"),
    [(False, False, torch.float32), (True, False, torch.float16), (True, True, torch.bfloat16)],
)
def test_networks_compute_in_what_the_machine_is_good_at(monkeypatch, gpu, native, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert presets.get("sd14").dtype == expected
    assert presets.get("mini").dtype == torch.float32


def test_without_a_gpu_large_images_come_with_advice(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    presets.get("sd14").report()
    assert "512 pixels takes minutes" in capsys.readouterr().out
    dataclasses.replace(presets.get("mini"), sessions=(1, 3)).report()
    printed = capsys.readouterr().out
    assert "Advice" not in printed and "Sessions: 1, 3" in printed


def test_values_are_checked_where_a_preset_is_changed_in_python():
    with pytest.raises(ValueError, match="strength of the preset 'mini' is nan"):
        dataclasses.replace(presets.get("mini"), strength=float("nan"))


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


def test_the_report_says_how_many_sessions_are_on_disk(tmp_path, capsys):
    preset = dataclasses.replace(presets.get("sd14"), data=str(tmp_path), subjects=(1, 2))
    preset.report()
    assert "Sessions: not found" in capsys.readouterr().out
    for folder in ("nsddata", "nsddata_stimuli"):
        (tmp_path / folder).mkdir()
    for subject, n in ((1, 3), (2, 1)):
        folder = tmp_path / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/betas_fithrf_GLMdenoise_RR"
        folder.mkdir(parents=True)
        for session in range(1, n + 1):
            (folder / f"lh.betas_session{session:02d}.mgh").touch()
    preset.report()
    printed = capsys.readouterr().out
    assert "Sessions: 3 of subj01, 1 of subj02 on disk" in printed
    assert f"Data:     {tmp_path}" in printed and "simulated" not in printed


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
