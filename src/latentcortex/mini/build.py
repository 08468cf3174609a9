"""Build the miniature world on disk, once, in the layout of NSD.

A tree is made in the cache, in a folder named by a hash of the sources, the settings and the
seed. What all worlds of a seed have in common (pictures, captions, design, answers) is made once
next to them; the worlds hold hard links to it.
"""

import functools
import json
import operator
import shutil
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
from tqdm.auto import tqdm

from latentcortex import nsd, store
from latentcortex.mini import captions, cortex, scenes, surface, volume
from latentcortex.mini.experiment import order_trials, simulate_responses, stimulus_pattern
from latentcortex.mini.naming import Sizes, folder_names, settings_of, source_hashes
from latentcortex.mini.unfinished import build_once
from latentcortex.nsd import write_measured, write_shown

_BLOCK = 128  # pictures that are drawn before they are kept; whole batches of `scenes.render`

_README = """SIMULATED DATA. No brain was measured.

This folder and all others of this tree were made by the package latentcortex, in the layout of
the Natural Scenes Dataset (Allen et al., 2022) but without any of its data. NSD has no folder
'simulation': here lies what only a simulation can know.

ground_truth.csv            what is in each picture, one row an image_id (0-based)
ground_truth_held_back.csv  the same for the pictures of NSD-synthetic's layout: kinds and
                            combinations that no other picture holds (0-based synthetic_id)
captions_held_back.json     their captions: a list of five for each
planted_subjXX.csv          what was planted in each vertex, left hemisphere first; voxels of
                            func1pt8mm (3.8 mm wide here) are means of the vertices in them
provenance.json             world, seed, sizes, hash of the sources
"""


def open_tree(world="standard", seed=0, cache=None, sizes=None):
    """Find the tree of a simulated world, or build it first.

    Processes that start at once wait for the one that builds. A build that was ended goes on with
    the pictures and sessions that it had finished, and gives the same files; a tree that is there is
    whole.

    Parameters
    ----------
    world : {"standard", "swapped", "uniform", "null"}
        The counterfactual worlds have the same pictures and trials as the standard one: early
        areas with semantic tuning and ventral ones with low-level tuning; the same mixture,
        receptive-field sizes and noise everywhere; noise only.
    seed : int
        Another seed makes other scenes, other trials and other subjects.
    cache : path, optional
        By default `store.cache_folder`.
    sizes : Sizes, optional

    Returns
    -------
    pathlib.Path
        Root of a tree for `latentcortex.nsd`. Its name is also the field ``name`` of its
        ``simulation/provenance.json``.

    Raises
    ------
    ValueError
        If there is no such world, or if the seed is no whole number from 0.
    OSError
        If the cache can't be written to, or if the disk has no room: the tree takes 1.7 GB.
    """
    if world not in cortex.WORLDS:
        raise ValueError(f"No world {world!r}. There are: {', '.join(cortex.WORLDS)}.")
    try:
        seed = operator.index(seed)
    except TypeError as error:
        raise ValueError(f"seed must be a whole number from 0, got {seed!r}.") from error
    if not seed >= 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed}.")
    sizes = Sizes() if sizes is None else sizes
    cache = store.cache_folder() if cache is None else Path(cache).expanduser()
    name, common_name = folder_names(world, seed, sizes)

    def build_common(tree, steps):
        _write_common(tree, seed, sizes, steps)

    def build_world(tree, steps):
        common = build_once(cache / common_name, build_common)
        _link(common, tree)
        _write_world(tree, world, seed, sizes, steps)
        # The name goes with the tree when it is moved or when its folder is renamed.
        provenance = {
            **{"simulated": True, "name": name, **settings_of(world, seed, sizes)},
            "source_hash": source_hashes(world, seed, sizes)[0],
            "version": version("latentcortex"),
        }
        text = json.dumps(provenance, indent=1)
        (tree / "simulation/provenance.json").write_text(text)

    return build_once(cache / name, build_world, sizes.n_bytes)


def _link(source, target):
    """Repeat a folder with hard links, or with copies where the file system has none."""
    for path in source.rglob("*"):
        if path.is_file():
            twin = target / path.relative_to(source)
            twin.parent.mkdir(parents=True, exist_ok=True)
            twin.unlink(missing_ok=True)  # an earlier process may have been ended in the middle of a copy
            try:
                twin.hardlink_to(path)
            except OSError:
                shutil.copy2(path, twin)


def _rng(seed, *stream):
    """Give each part of the world random numbers of its own."""
    return np.random.default_rng([seed, *stream])


def _sample(seed, sizes):
    """Draw the ordinary and the held-back scenes; the same at each call."""
    n_images = sizes.n_shared + len(sizes.n_sessions) * sizes.n_own
    ordinary = scenes.sample_scenes(n_images, _rng(seed, 0))
    return ordinary, scenes.sample_scenes(sizes.n_held_back, _rng(seed, 1), held_back=True)


def _design(seed, sizes):
    """Deal out the images and order the trials.

    Returns
    -------
    order : int array (n_trials_in_all,)
        0-based image of each trial, for all subjects.
    subjectim : int array (n_subjects, n_shared + n_own)
        0-based 73k ids, the shared ones first.
    synthetic : int array (n_held_back * n_repeats,)
        0-based held-back image of each trial of the further session.
    """
    rng, n_subjects = _rng(seed, 2), len(sizes.n_sessions)
    ids = rng.permutation(sizes.n_shared + n_subjects * sizes.n_own)
    shared = np.sort(ids[: sizes.n_shared])
    own = np.sort(ids[sizes.n_shared :].reshape(n_subjects, sizes.n_own), axis=1)
    subjectim = np.concatenate([np.tile(shared, (n_subjects, 1)), own], axis=1)
    n_first = min(sizes.n_sessions) * sizes.n_trials
    order = order_trials(subjectim.shape[1], sizes.n_repeats, rng, sizes.n_shared, n_first)
    synthetic = [rng.permutation(sizes.n_held_back) for _ in range(sizes.n_repeats)]
    return order, subjectim, np.concatenate(synthetic)


def _draw(experiment, drawn, steps):
    """Draw scenes, uint8 (n, height, width, 3), in blocks that are kept."""
    n_batches = -(-len(drawn) // 32)

    def watched(batches):
        for batch in batches:
            yield batch
            bar.update()

    images = []
    with tqdm(
        total=n_batches, desc=f"Simulated world: drawing the scenes ({experiment})", unit="batch"
    ) as bar:
        for start in range(0, len(drawn), _BLOCK):
            block = drawn[start : start + _BLOCK]
            draw = functools.partial(scenes.render, block, progress=watched)
            images.append(steps.keep(f"{experiment}-{start:05d}", draw))
            bar.n = min(n_batches, (start + _BLOCK) // 32)
            bar.refresh()
    return np.concatenate(images)


def _write_common(root, seed, sizes, steps):
    """Write all that does not depend on the cortex."""
    ordinary, held_back = _sample(seed, sizes)
    order, subjectim, synthetic = _design(seed, sizes)

    write_shown.write_stimuli(root, _draw("nsd", ordinary, steps))
    write_shown.write_stimuli(root, _draw("nsdsynthetic", held_back, steps), "nsdsynthetic")

    rng = _rng(seed, 3)
    n_sessions = len(order) // sizes.n_trials
    pattern = stimulus_pattern(n_sessions, sizes.n_runs, sizes.n_slots, sizes.n_trials, rng)
    write_shown.write_design(root, order, pattern, subjectim, sizes.n_shared)
    pattern_synthetic = stimulus_pattern(
        1, sizes.n_synthetic_runs, sizes.n_synthetic_slots, len(synthetic), rng
    )
    write_shown.write_design(root, synthetic, pattern_synthetic)
    for k, last in enumerate(sizes.n_sessions):
        responses = simulate_responses(k + 1, order, subjectim[k], pattern[:last], rng)
        write_shown.write_behaviour(root, f"subj{k + 1:02d}", responses)

    rng = _rng(seed, 4)
    # Ids unlike NSD's, and two splits, as in COCO: who takes one for the other is found out.
    coco_ids = 500_000 + rng.permutation(len(ordinary))
    coco_splits = np.where(rng.random(len(ordinary)) < 0.1, "val2017", "train2017")
    coco_splits[subjectim[0, : sizes.n_shared]] = "train2017"
    texts = [captions.write_captions(scene, rng) for scene in ordinary]
    write_shown.write_captions(root, texts, coco_ids, coco_splits)
    write_shown.write_stim_info(root, coco_ids, coco_splits, order, subjectim, sizes.n_shared)

    truth = root / "simulation"
    truth.mkdir(exist_ok=True)
    (truth / "README.txt").write_text(_README)
    texts = [captions.write_captions(scene, rng) for scene in held_back]
    (truth / "captions_held_back.json").write_text(json.dumps(texts, indent=0))
    for name, drawn, index in (
        ("ground_truth", ordinary, "image_id"),
        ("ground_truth_held_back", held_back, "synthetic_id"),
    ):
        scenes.ground_truth(drawn).to_csv(truth / f"{name}.csv", index_label=index)


def _read_images(root, experiment):
    path = root / f"nsddata_stimuli/stimuli/{experiment}/{experiment}_stimuli.hdf5"
    with h5py.File(path, "r") as file:
        return file["imgBrick"][...]


def _write_world(root, world, seed, sizes, steps):
    """Write what the simulated cortices answer to the images in `root`."""
    ordinary, held_back = _sample(seed, sizes)
    order, subjectim, synthetic = _design(seed, sizes)
    images, images_held_back = (_read_images(root, experiment) for experiment in ("nsd", "nsdsynthetic"))
    for atlas, (labels, names) in surface.areas().atlases.items():
        write_measured.write_rois(root, atlas, labels, names)
    # One step a session: those of the main experiment and, for each subject, the further one.
    n_steps = sum(sizes.n_sessions) + len(sizes.n_sessions)
    with tqdm(total=n_steps, desc=f"Simulated world ({world}): scanning", unit="session") as bar:
        for k, n_sessions in enumerate(sizes.n_sessions):
            subject = f"subj{k + 1:02d}"
            if steps.is_done(subject):
                bar.update(n_sessions + 1)
                continue
            simulated = cortex.Cortex(k, world, seed)
            path = root / f"simulation/planted_{subject}.csv"
            simulated.planted.to_csv(path, index_label="vertex")
            # All images at once, so that one scale holds for ordinary and held-back ones.
            signal = simulated.signal(
                np.concatenate([images[subjectim[k]], images_held_back]),
                [*(ordinary[i] for i in subjectim[k]), *held_back],
            )
            shown = np.split(order[: n_sessions * sizes.n_trials], n_sessions)
            space = volume.lay_volume(_rng(seed, 14, k))
            _scan(root, subject, (simulated, signal, space), shown, steps, bar)
            betas = simulated.respond(signal[subjectim.shape[1] + synthetic], n_sessions + 1)
            files = _write_session(root, subject, "nsdsynthetic", betas, space.resample(betas), space)
            steps.finish(subject, files)
            bar.update()


def _scan(root, subject, body, shown, steps, bar):
    """Write the sessions that are not there yet, and what is estimated from all of them."""
    simulated, signal, space = body
    scaled = [], []
    for session, rows in enumerate(shown, 1):
        step = f"{subject}-session{session:02d}"
        if steps.is_done(step):
            # In memory as a cortex answers, trial after trial of a vertex: sums depend on the order.
            betas = np.asfortranarray(nsd.betas(root, subject, sessions=[session]))
        else:
            betas = np.asfortranarray(simulated.respond(signal[rows], session))
        voxels = space.resample(betas)
        if not steps.is_done(step):
            steps.finish(step, _write_session(root, subject, session, betas, voxels, space))
        for sessions, values in zip(scaled, (betas, voxels), strict=True):
            sessions.append(nsd.zscore(values, None, np.ones(len(values), bool)))
        bar.update()
    # As NSD's: estimated from the responses, not what was planted.
    on_surface, in_volume = (
        nsd.estimate_ncsnr(np.concatenate(sessions), np.concatenate(shown)) for sessions in scaled
    )
    write_measured.write_ncsnr(root, subject, on_surface)
    _write_volumes(root, subject, space, in_volume)


def _write_session(root, subject, session, betas, voxels, space):
    """Write one session on the surface and in the volume; return the paths."""
    return [
        *write_measured.write_betas_session(root, subject, session, betas),
        write_measured.write_volume_betas_session(root, subject, session, space.fill(voxels), space.affine),
    ]


def _write_volumes(root, subject, space, ncsnr):
    """Write what NSD keeps beside the betas of a volume: brain, regions and ncsnr."""
    volumes = {"brainmask": space.cortex.astype(np.uint8), "ncsnr": space.fill(ncsnr)}
    for atlas, (labels, _) in surface.areas().atlases.items():
        # -1 is NSD's code for what is no cortex.
        codes = space.fill(labels[space.nearest].astype(np.int16), outside=-1)
        volumes[f"roi/{atlas}"] = codes
    for name, values in volumes.items():
        write_measured.write_volume(root, subject, name, values, space.affine)
