"""Fixtures: random numbers, devices, clean figures, and a tiny tree in the layout of NSD."""

import dataclasses
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch

from latentcortex import presets
from latentcortex.mini import experiment
from latentcortex.nsd import write_measured, write_shown
from latentcortex.studies import open_study

matplotlib.use("Agg")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=["cpu"] + ["cuda"] * torch.cuda.is_available())
def device(request):
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def write_tiny_tree(root, n_own=32, n_sessions=(3, 2)):
    """Write made-up arrays as an NSD tree; return what was written.

    Two subjects with 3 and 2 sessions of 40 trials, 8 shared and 32 own images of each, three
    showings, 162 vertices a hemisphere. The response of vertex v to an image is a random number
    times gain[v], plus noise of deviation 1, plus an offset of the session.
    """
    rng = np.random.default_rng(20)
    n_shared, n_vertices, n_trials = 8, 162, 40
    n_images = n_shared + 2 * n_own
    ids = rng.permutation(n_images)
    shared, own = np.sort(ids[:n_shared]), np.sort(ids[n_shared:].reshape(2, n_own), axis=1)
    subjectim = np.array([np.concatenate([shared, row]) for row in own])
    order = experiment.order_trials(n_shared + n_own, 3, rng, n_shared, 80)
    pattern = experiment.stimulus_pattern(max(n_sessions), 4, 15, n_trials, rng)
    images = rng.integers(0, 256, (n_images, 12, 10, 3), dtype=np.uint8)
    captions = [[f"caption {k} of image {i}" for k in range(5)] for i in range(n_images)]
    # COCO's ids are none of NSD's, and each of these is in both splits, for different images.
    coco_ids = (rng.permutation(n_images) % (n_images // 2)) + 7
    first_of_two = np.unique(coco_ids, return_index=True)[1]
    coco_splits = np.where(np.isin(np.arange(n_images), first_of_two), "train2017", "val2017")

    write_shown.write_design(root, order, pattern, subjectim, n_shared)
    write_shown.write_stimuli(root, images)
    write_shown.write_captions(root, captions, coco_ids, coco_splits)
    write_shown.write_stim_info(root, coco_ids, coco_splits, order, subjectim, n_shared)
    names = {0: "Unknown", 1: "early", 5: "ventral"}
    labels = rng.choice(list(names), 2 * n_vertices)
    write_measured.write_rois(root, "streams", labels, names)
    write_measured.write_rois(root, "nsdgeneral", labels > 0, {0: "Unknown", 1: "nsdgeneral"})
    own_labels = rng.choice([-1, 0, 1], 2 * n_vertices)
    write_measured.write_rois(root, "floc-faces", labels % 2, {0: "Unknown", 1: "FFA-1"})
    write_measured.write_rois(root, "floc-faces", own_labels, {0: "Unknown", 1: "FFA-1"}, "subj01")

    gain = np.abs(rng.normal(0.5, 0.4, 2 * n_vertices))
    betas, responses = {}, {}
    for k, last in enumerate(n_sessions):
        subject = f"subj{k + 1:02d}"
        responses[subject] = experiment.simulate_responses(k + 1, order, subjectim[k], pattern[:last], rng)
        write_shown.write_behaviour(root, subject, responses[subject])
        write_measured.write_ncsnr(root, subject, gain)
        signal = rng.normal(size=(n_shared + n_own, 2 * n_vertices)) * gain
        for session in range(1, last + 1):
            shown = order[n_trials * (session - 1) : n_trials * session]
            noise = rng.normal(size=(n_trials, 2 * n_vertices)) + rng.normal()
            betas[subject, session] = (signal[shown] + noise).astype(np.float32)
            write_measured.write_betas_session(root, subject, session, betas[subject, session])
    return SimpleNamespace(
        betas=betas,
        responses=responses,
        order=order,
        subjectim=subjectim,
        shared=shared,
        images=images,
        captions=captions,
        labels=labels,
        own_labels=own_labels,
        ncsnr=gain,
        n_trials=n_trials,
        pattern=pattern,
    )


@pytest.fixture(scope="session")
def _tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny") / "nsd"
    return root, write_tiny_tree(root)


@pytest.fixture(scope="session")
def tiny_tree(_tiny):
    """Root of a tiny tree in NSD's layout. Read only: copy it before changing a file."""
    return _tiny[0]


@pytest.fixture(scope="session")
def tiny_truth(_tiny):
    """Arrays that `tiny_tree` was written from."""
    return _tiny[1]


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Two made-up subjects with 232 own and 8 shared images, seen by the miniature world's networks.

    What is computed for it is kept for all tests of a session. Restore what a test changes.
    """
    folder = tmp_path_factory.mktemp("study")
    write_tiny_tree(folder / "nsd", n_own=232, n_sessions=(18, 18))
    preset = dataclasses.replace(presets.get("mini"), subjects=(1, 2), n_steps=4, expected_minutes="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTCORTEX_CACHE", str(folder / "cache"))
        yield open_study(preset, folder / "nsd")


@pytest.fixture(scope="module")
def one_thread():
    """Compute on one thread: handing small arrays from thread to thread takes longer than work."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
