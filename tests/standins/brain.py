"""A tree as NSD's data manual describes it, with planted responses to drawn images.

As in NSD: a design of eight subjects and 73,000 ids, a log of 40 sessions of which few are on disk, stimuli
of 425 pixels, surface files of all 163,842 vertices or cut to the first 10,242 (fsaverage5), volumes of
integers, labels of `prf-visualrois` and `floc-*` on each subject's own surface alone, vertices that hold NaN,
images shown once, twice or three times. Unlike NSD: a session has 150 trials, and a subject 2,000 images.
"""

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
from scipy.spatial import cKDTree

from latentcortex.mini import experiment, surface
from latentcortex.nsd import write_measured, write_shown
from latentcortex.store import rows_of

N_IDS, N_SUBJECTS, N_IMAGES, N_SHARED = 73_000, 8, 2_000, 50
N_SESSIONS, N_TRIALS = 40, 150
N_EARLY = 320  # images that the first six sessions show
N_NATIVE = 40_000  # vertices of a hemisphere of the subject's own surface
N_NAN = 30  # vertices without numbers, outside visual cortex, in each hemisphere of fsaverage5
SHAPES = {"subj01": (81, 104, 83), "subj02": (82, 106, 84)}  # of func1pt8mm
THINGS = ("ball", "box", "ring", "flag", "cross", "gate", "wheel", "ladder", "kite", "stone")
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.7, 0.2),
    "blue": (0.1, 0.2, 0.9),
    "yellow": (0.9, 0.85, 0.1),
    "white": (0.95, 0.95, 0.95),
    "black": (0.05, 0.05, 0.05),
}
OWN_ATLASES = ("prf-visualrois", "floc-faces", "floc-places", "floc-bodies")


def write_tree(root, on_disk, space="fsaverage5"):
    """Write a tree; an existing one stays.

    Parameters
    ----------
    root : path
    on_disk : dict of str to int
        By subject (``"subj01"``, ``"subj02"``), how many of the 40 sessions have files of betas.
    space : {"fsaverage5", "fsaverage", "func1pt8mm"}
        Which betas are written; files of fsaverage5 are fsaverage's, cut to the first 10,242 vertices.
    """
    root = Path(root)
    if (root / "written.json").is_file():
        return
    rng = np.random.default_rng(73)
    order, subjectim = _order(rng), _subjectim(rng)
    pattern = experiment.stimulus_pattern(N_SESSIONS, 12, 75, N_TRIALS, rng)
    write_shown.write_design(root, order, pattern, subjectim, N_SHARED)
    # COCO's ids are other numbers, and shared images all come from train2017.
    coco_ids = rng.permutation(10 * N_IDS)[:N_IDS] + 9
    splits = np.where(rng.random(N_IDS) < 0.1, "val2017", "train2017")
    splits[subjectim[0, :N_SHARED]] = "train2017"
    write_shown.write_stim_info(root, coco_ids, splits, order, subjectim, N_SHARED)
    ids = np.unique([row[:N_EARLY] for row in subjectim[: len(on_disk)]])
    scenes = _Scenes(rng, len(ids))
    _write_images(root, ids, scenes)
    write_shown.write_captions(root, scenes.captions(), coco_ids[ids], splits[ids])
    atlases = surface.areas().atlases
    for name, (codes, names) in atlases.items():
        if name not in OWN_ATLASES:
            write_measured.write_rois(root, name, _spread(codes), names)
    _write_spheres(root, "fsaverage", [of for of, _ in _fsaverage()])
    for k, (subject, n_sessions) in enumerate(on_disk.items()):
        log = experiment.simulate_responses(k + 1, order, subjectim[k], pattern, rng)
        write_shown.write_behaviour(root, subject, log)
        _write_own_labels(root, subject, atlases, rng)
        shown = rows_of(ids, subjectim[k, order[: n_sessions * N_TRIALS]])
        brain = _Brain(scenes, atlases["streams"][0], atlases["nsdgeneral"][0] > 0, rng)
        write = _write_volumes if space == "func1pt8mm" else _write_surfaces
        write(root, subject, brain, shown.reshape(n_sessions, -1), space, atlases, rng)
    (root / "written.json").write_text(json.dumps({"on_disk": on_disk, "space": space}))


def _order(rng):
    """Return the image of each trial: six sessions show the first images, some of them not three times."""
    n = 6 * N_TRIALS
    early = experiment.order_trials(N_EARLY, 3, rng, N_SHARED, 2 * N_TRIALS)
    later = N_EARLY + experiment.order_trials(N_IMAGES - N_EARLY, 3, rng)
    return np.concatenate([early[:n], rng.permutation(np.concatenate([early[n:], later]))])


def _subjectim(rng):
    ids = rng.permutation(N_IDS)[: N_SHARED + N_SUBJECTS * (N_IMAGES - N_SHARED)]
    shared, own = np.sort(ids[:N_SHARED]), ids[N_SHARED:].reshape(N_SUBJECTS, -1)
    return np.array([np.concatenate([shared, row]) for row in own])


class _Scenes:
    """What images show: a thing of some colour somewhere, before smooth random colours."""

    def __init__(self, rng, n):
        self.thing, self.colour = rng.integers(len(THINGS), size=n), rng.integers(len(COLOURS), size=n)
        self.place, self.size = rng.uniform(0.25, 0.75, (n, 2)), rng.uniform(0.12, 0.25, n)
        self.ground = rng.uniform(0.1, 0.9, (n, 4, 4, 3))

    def draw(self, k, size=425):
        """Draw image k, uint8 (size, size, 3)."""
        at = np.linspace(0, 3, size)
        low, share = np.minimum(at.astype(int), 2), (at % 1)[:, None]
        share[at >= 3] = 1
        rows = self.ground[k][low] * (1 - share[..., None]) + self.ground[k][low + 1] * share[..., None]
        pixels = rows[:, low] * (1 - share) + rows[:, low + 1] * share
        y, x = (np.mgrid[:size, :size] / size - self.place[k][:, None, None]) / self.size[k]
        r, square = np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))
        inside = (
            r < 1,
            square < 1,
            (r < 1) & (r > 0.6),
            (square < 1) & (np.floor(3 * y) % 2 == 0),
            (square < 1) & (np.minimum(np.abs(x), np.abs(y)) < 0.3),
            (square < 1) & (square > 0.6),
            (r < 1) & ((r > 0.7) | (np.minimum(np.abs(x), np.abs(y)) < 0.15)),
            (square < 1) & ((np.abs(x) > 0.7) | (np.floor(5 * y) % 2 == 0)),
            np.abs(x) + np.abs(y) < 1,
            np.hypot(x, 2 * y) < 1,
        )[self.thing[k]]
        pixels[inside] = list(COLOURS.values())[self.colour[k]]
        return np.round(255 * pixels).astype(np.uint8)

    def captions(self):
        """Return five captions of each image; like people, they leave things out."""
        colours = list(COLOURS)
        return [
            [
                f"a {colours[c]} {THINGS[t]}",
                f"a photo of a {THINGS[t]} on the {'left' if place[1] < 0.5 else 'right'}",
                f"there is a {colours[c]} {THINGS[t]} in the {'upper' if place[0] < 0.5 else 'lower'} half",
                f"one {THINGS[t]} before a blurred wall",
                f"the {THINGS[t]} is {colours[c]}",
            ]
            for t, c, place in zip(self.thing, self.colour, self.place, strict=True)
        ]

    def low_level(self):
        """Return the colours of 6 x 6 cells of each image, (n, 108)."""
        small = np.stack([self.draw(k, 48) for k in range(len(self.thing))]) / 255
        return small.reshape(-1, 6, 8, 6, 8, 3).mean(axis=(2, 4)).reshape(len(small), -1)

    def contents(self):
        """Return thing and colour of each image as indicators, (n, 16)."""
        return np.hstack([np.eye(len(THINGS))[self.thing], np.eye(len(COLOURS))[self.colour]])


def _write_images(root, ids, scenes):
    """Write the images among NSD's 73,000; what nobody on disk has seen takes no space and reads as black."""
    path = Path(root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        shape = N_IDS, 425, 425, 3
        brick = file.create_dataset("imgBrick", shape, np.uint8, chunks=(1, *shape[1:]), compression=1)
        for k, image_id in enumerate(ids):
            brick[image_id] = scenes.draw(k)


class _Brain:
    """Responses of a subject: early cortex to colours in places, the other streams to what is shown."""

    def __init__(self, scenes, streams, visual, rng):
        self.signal = np.zeros((len(scenes.thing), len(streams)), np.float32)
        low, high = (of - of.mean(0) for of in (scenes.low_level(), scenes.contents()))
        early, ventral = visual & (streams == 1), visual & (streams != 1)
        for mask, values, n_weights in ((early, low, 9), (ventral, high, 5)):
            weights = rng.normal(size=(values.shape[1], mask.sum()))
            weights *= rng.random(weights.shape) < n_weights / len(weights)
            weights[rng.integers(len(weights), size=mask.sum()), np.arange(mask.sum())] += 1
            signal = values @ weights
            self.signal[:, mask] = signal / signal.std(0)
        self.ncsnr = np.where(visual, rng.gamma(4, 0.12, len(streams)), 0).astype(np.float32)

    def respond(self, shown, columns, rng):
        """Return percent signal change (n_trials, n) of some columns in one session, with its drift."""
        signal = self.signal[np.ix_(shown, columns)] * self.ncsnr[columns]
        noise = rng.standard_normal(signal.shape, np.float32)
        return 1.4 * (signal + noise + rng.normal(0, 0.3, len(columns)).astype(np.float32))


def _fsaverage():
    """Return vertices and triangles of both spheres of fsaverage: fsaverage5's, divided twice."""
    found = []
    for _, vertices, faces in surface.meshes():
        vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        for _ in range(2):
            edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
            edges, number = np.unique(edges, axis=0, return_inverse=True)
            a, b, c = (len(vertices) + number.ravel()).reshape(3, -1)
            i, j, k = faces.T
            corners = [(i, a, c), (a, j, b), (c, b, k), (a, b, c)]
            faces = np.concatenate([np.stack(corner, axis=1) for corner in corners])
            middle = vertices[edges].mean(axis=1)
            vertices = np.vstack([vertices, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        found.append((vertices, faces))
    return found


def _coarse(vertices, side):
    """Return for each point of a sphere the nearest vertex of fsaverage5's hemisphere."""
    return cKDTree(_fsaverage()[side][0][: surface.N_VERTICES]).query(vertices)[1]


def _spread(codes):
    """Return what fsaverage5's vertices hold at all vertices of fsaverage, left then right."""
    halves = np.split(np.asarray(codes), 2)
    spheres = _fsaverage()
    return np.concatenate(
        [half[_coarse(of, side)] for side, (half, (of, _)) in enumerate(zip(halves, spheres, strict=True))]
    )


def _write_spheres(root, owner, spheres):
    for hemisphere, vertices in zip(("lh", "rh"), spheres, strict=True):
        path = Path(root, f"nsddata/freesurfer/{owner}/surf/{hemisphere}.sphere.reg")
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.freesurfer.write_geometry(path, 100 * vertices, np.array([[0, 1, 2]]))


def _write_own_labels(root, subject, atlases, rng):
    """Write a subject's own surface, another one than fsaverage's, and what was drawn on it."""
    spheres = [rng.normal(size=(N_NATIVE, 3)) for _ in range(2)]
    spheres = [of / np.linalg.norm(of, axis=1, keepdims=True) for of in spheres]
    _write_spheres(root, subject, spheres)
    for name, (codes, names) in atlases.items():
        halves = zip(np.split(codes, 2), spheres, strict=True)
        labels = np.concatenate([half[_coarse(of, side)] for side, (half, of) in enumerate(halves)])
        if name in OWN_ATLASES:
            labels = np.where((labels == 0) & (rng.random(len(labels)) < 0.2), -1, labels)
        write_measured.write_rois(root, name, labels, names, subject)


def _write_surfaces(root, subject, brain, sessions, space, atlases, rng):
    n = surface.N_VERTICES
    outside = np.flatnonzero(atlases["nsdgeneral"][0] == 0)
    missing = np.concatenate([outside[outside < n][:N_NAN], outside[outside >= n][:N_NAN]])
    columns = np.arange(2 * n)
    if space == "fsaverage":
        columns = _spread(columns)
    ncsnr = brain.ncsnr.copy()
    ncsnr[missing] = np.nan
    write_measured.write_ncsnr(root, subject, ncsnr[columns])
    for session, shown in enumerate(sessions, 1):
        betas = brain.respond(shown, columns, rng)
        betas[:, np.isin(columns, missing)] = np.nan
        write_measured.write_betas_session(root, subject, session, betas)


def _write_volumes(root, subject, brain, sessions, space, atlases, rng):
    """Write volumes whose voxels of cortex are vertices laid out in a block; the last one as NIfTI."""
    shape, is_visual = SHAPES[subject], atlases["nsdgeneral"][0] > 0
    parts = [
        rng.choice(np.flatnonzero(of), n, replace=False)
        for of, n in ((is_visual, 2_000), (~is_visual, 2_500))
    ]
    vertices = np.sort(np.concatenate(parts))
    x, y, z = np.unravel_index(np.arange(len(vertices)), (20, 15, 15))
    places = x + 30, y + 20, z + 25
    for name, (codes, _) in atlases.items():
        volume = np.full(shape, -1 if name in (*OWN_ATLASES, "nsdgeneral") else 0, np.int16)
        volume[places] = codes[vertices]
        write_measured.write_volume(root, subject, f"roi/{name}", volume)
    ncsnr = np.zeros(shape, np.float32)
    ncsnr[places] = brain.ncsnr[vertices]
    write_measured.write_volume(root, subject, "ncsnr", ncsnr)
    folder = Path(root, f"nsddata_betas/ppdata/{subject}/{space}/betas_fithrf_GLMdenoise_RR")
    for session, shown in enumerate(sessions, 1):
        scaled = np.rint(300 * brain.respond(shown, vertices, rng)).astype(np.int16)
        if session == len(sessions):
            betas = np.zeros((*shape, len(shown)), np.int16)
            betas[places] = scaled.T
            nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), folder / f"betas_session{session:02d}.nii.gz")
            continue
        with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
            chunks = len(shown), 1, 1, 1  # what is never written takes no space and reads as 0
            betas = file.create_dataset("betas", (len(shown), *shape[::-1]), np.int16, chunks=chunks)
            for column, (i, j, k) in zip(scaled.T, zip(*places, strict=True), strict=True):
                betas[:, k, j, i] = column
