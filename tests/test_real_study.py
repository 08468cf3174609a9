"""Every chapter and data script on stand-ins of NSD, Stable Diffusion and the protocols' networks.

Run by ``make test-real``, because it takes most of half an hour. The report lies in ``.cache/real``,
which git ignores. ``LATENTCORTEX_TEST_REAL=func1pt8mm`` (or another space) runs it in that space.
"""

import os
import resource
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from filelock import FileLock
from standins import diffusion, runs, study
from test_real_sizes import OF_SIMULATED_WORLDS

from latentcortex import features, sampler

CLONE = Path(__file__).resolve().parents[1]
ASKED = os.environ.get("LATENTCORTEX_TEST_REAL")
FOLDER = CLONE / ".cache" / "real"
# What only simulated data can answer: refused in words before anything is computed.
REFUSED = {
    script.__name__.rpartition(".")[2]: "run this script with the preset 'mini'"
    for script in OF_SIMULATED_WORLDS
}
# Voxels are each subject's own, so that no map of all subjects can be made of them.
REFUSED_IN_VOLUMES = {
    name: "in which each subject has voxels of its own"
    for name in ("ch10_encode_voxels", "ch10_leave_more_out", "ch11_follow_the_noise", "ch12_open_the_unet")
}
slow = pytest.mark.skipif(not ASKED, reason="takes half an hour: make test-real")


def test_the_stand_in_has_as_many_parameters_as_stable_diffusion():
    assert diffusion.parameters(diffusion.FULL) == diffusion.PARAMETERS


def test_a_folder_in_the_form_of_2022_is_read(tmp_path):
    """PNDM in the scheduler's file, CLIPTextModel, and a tokenizer of vocabulary and merges."""
    diffusion.write_folder(tmp_path / "model", 8)
    model = features.load_latent_diffusion(tmp_path / "model")
    assert type(model.scheduler) is DDIMScheduler and model.scheduler.config.steps_offset == 1
    assert model.vae.config.scaling_factor == 0.18215
    texts = [["a red ball", "the ball is red"], ["one ring before a blurred wall"]]
    states = features.encode_captions(model.text_encoder, model.tokenizer, texts)
    assert states.shape == (2, 77, 32) and (states[0] - states[1]).abs().max() > 0.01


@pytest.fixture(scope="module")
def settings():
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / "writing.lock"):  # two processes run side by side
        made = study.write_study(FOLDER, ASKED if ASKED in study.ON_DISK else "fsaverage5")
    yield made
    runs.write_report(FOLDER)


@slow
@pytest.mark.parametrize("path", [*runs.CHAPTERS, *runs.SCRIPTS], ids=lambda path: path.name)
def test_it_runs_on_what_a_real_study_has(path, settings):
    record = runs.run(path, settings)
    refused = REFUSED | (REFUSED_IN_VOLUMES if ASKED == "func1pt8mm" and path.suffix == ".py" else {})
    if path.stem in refused:
        assert len(record["errors"]) == 1 and refused[path.stem] in record["errors"][0]
    else:
        assert record["errors"] == []


@slow
def test_a_step_of_networks_as_wide_as_the_real_ones(capsys):
    """One step of guided sampling at 512 pixels in float32: the memory is printed."""
    with torch.device("meta"):
        unet = diffusion.networks(diffusion.FULL)["unet"]
    unet = unet.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        parameter.normal_(0, 0.02, generator=generator)
    scheduler = DDIMScheduler.from_config(diffusion.SCHEDULER)
    states = torch.randn(2, 77, 768, generator=generator)
    noise = [sampler.make_generator(0, 0)]
    drawn = sampler.sample(
        unet, scheduler, states[:1], states[1:], generators=noise, n_steps=1, guidance_scale=5.0
    )
    assert drawn.shape == (1, 4, 64, 64) and torch.isfinite(drawn).all()
    with capsys.disabled():
        print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")
