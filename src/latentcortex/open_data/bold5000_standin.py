"""Write a stand-in of BOLD5000: files in its authors' layout, with responses that nobody gave.

`bold5000.import_bold5000` reads them as it reads the real ones. A file `MARK` lies among them, so that a tree
that was imported from them is called ``bold5000-standin``. What differs from the real files: the images are
simulated scenes, there are fewer of them, fewer trials in a run, and fewer voxels.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.feature_extraction.text import CountVectorizer

from latentcortex.open_data.bold5000 import BETAS, MARK, REGIONS, SESSIONS
from latentcortex.open_data.bold5000_images import collection

N_PER_RUN = 7  # trials; the real runs have 37
N_REPEATED = 113
N_LEFT_OUT = 1  # one of the repeated images was shown three times, all others four times
# Planted, by region: voxels of a hemisphere, the share of low-level tuning, and the mean ratio of signal and
# noise (ncsnr).
PLANTED = {
    "EarlyVis": (120, 0.9, 0.55),
    "LOC": (90, 0.35, 0.45),
    "OPA": (60, 0.35, 0.4),
    "PPA": (70, 0.25, 0.4),
    "RSC": (50, 0.25, 0.35),
}
OWN = 0.5  # share of the repeatable variance that belongs to an image and to nothing that describes it
_FOLDERS = {"COCO": "COCO", "ImageNet": "ImageNet", "SUN": "Scene"}  # the authors' names
_TEXT = """STAND-IN. No brain was measured, and these are not the files of BOLD5000.

They were made by the package latentcortex in the layout of BOLD5000, Release 2.0, so that its
programs can be tried without a download. Images are simulated scenes, responses are planted.
"""


def write_standin(folder, images, captions, kinds, settings, seed=0, n_per_run=N_PER_RUN):
    """Write the stand-in of four subjects who saw the same images.

    A voxel's response to an image is a mixture of two random projections: of the colours in an 8 x 8 grid
    (low-level) and of the words of the captions. The features z, c and g that decoders are asked for take no
    part in it. Further parts are what is unique to an image, noise, and the drift of sessions, see `PLANTED`
    and `OWN`. A fifth of the images gets names as those of SUN, two fifths as COCO's, two fifths as
    ImageNet's.

    Parameters
    ----------
    folder : path
        It is made.
    images : uint8 array (n, h, w, 3)
        Both sizes are multiples of 8, and n is at least `n_images`. The first 113 are repeated.
    captions : list of list of str
        Of each image.
    kinds, settings : sequence of str
        Of each image, what it shows and where: the labels of the images of ImageNet and of SUN.
    seed : int
    n_per_run : int
        Trials of a run.

    Returns
    -------
    list of str
        The names of the images that are used, in their order.

    Raises
    ------
    ValueError
        There are too few images, or numbers of images differ.
    """
    n = n_images(n_per_run)
    lengths = {"images": images, "captions": captions, "kinds": kinds, "settings": settings}
    lengths = {name: len(values) for name, values in lengths.items()}
    if len(set(lengths.values())) > 1 or not lengths["images"] >= n:
        raise ValueError(
            f"{n_per_run} trials in a run need {n} images, each with captions, kind and setting; got "
            f"{lengths}."
        )
    rng = np.random.default_rng(seed)
    synsets = {kind: f"n{k:08d}" for k, kind in enumerate(sorted(set(kinds)), 1)}
    names = [_name(k, synsets[kinds[k]], settings[k]) for k in range(n)]
    drives = _colours(images[:n]), _words(captions[:n])
    runs, betas = {}, {}
    for subject in SESSIONS:
        order, runs[subject] = _order(rng, subject, n, n_per_run, names)
        sessions = np.repeat([s for s, _ in runs[subject]], n_per_run)
        betas[subject] = {
            hemisphere + region: _respond(rng, region, drives, order, sessions)
            for hemisphere in ("LH", "RH")
            for region in REGIONS
        }
    coco = {int(name[15:27]): texts for name, texts in zip(names, captions, strict=False) if "COCO" in name}
    labels = {synset: kind for kind, synset in synsets.items()}
    photographs = dict(zip(names, images, strict=False))
    write_files(folder, runs, betas, photographs, coco, labels, names[:N_REPEATED])
    Path(folder, MARK).write_text(_TEXT, encoding="utf-8")
    return names


def n_images(n_per_run=N_PER_RUN):
    """Return how many images a subject of 15 sessions sees, with so many trials in each run."""
    return n_trials("CSI1", n_per_run) - (4 * N_REPEATED - N_LEFT_OUT) + N_REPEATED


def n_trials(subject, n_per_run):
    """Return the number of trials of a subject, with so many in each run."""
    n_sessions, long = SESSIONS[subject]
    return n_per_run * (9 * n_sessions + len(long))


def write_files(folder, runs, betas, photographs, captions, labels, repeated):
    """Write arrays as the unpacked archives of BOLD5000, and COCO's captions.

    Parameters
    ----------
    folder : path
        It is made.
    runs : dict of str to dict of (int, int) to list of str
        By subject, session and run: the names of the images, in order of presentation.
    betas : dict of str to dict of str to float array (n_trials, n_voxels)
        By subject and by hemisphere and region, such as ``"LHPPA"``.
    photographs : dict of str to uint8 array (h, w, 3)
    captions : dict of int to list of str
        By COCO's number of the image.
    labels : dict of str to str
        By synset, such as ``"n01440764"``.
    repeated : list of str
    """
    folder = Path(folder)
    arrays, stimuli = folder / "BOLD5000_GLMsingle_ROI_betas/py", folder / "BOLD5000_Stimuli"
    for subject, of_subject in runs.items():
        seen, lines = set(), []
        for (session, run), names in of_subject.items():
            own = []
            for name in names:
                own.append("rep_" + name if name in seen else name)
                seen.add(name)
            place = f"Stimuli_Presentation_Lists/{subject}/{subject}_sess{session:02d}"
            _write(stimuli / place / f"{subject}_sess{session:02d}_run{run:02d}.txt", own)
            lines += own
        _write(folder / f"{subject[:3]}0{subject[3:]}_stim_lists.txt", lines)
        arrays.mkdir(parents=True, exist_ok=True)
        for region, values in betas[subject].items():
            np.save(arrays / BETAS.format(subject, "", region), values)
    scenes = stimuli / "Scene_Stimuli"
    _write(scenes / "repeated_stimuli_113_list.txt", repeated)
    _write(stimuli / "Image_Labels/imagenet_final_labels.txt", [" ".join(of) for of in labels.items()])
    for name, pixels in photographs.items():
        path = scenes / "Presented_Stimuli" / _FOLDERS[collection(name)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "JPEG", quality=95)
    pairs = [(number, text) for number, texts in captions.items() for text in texts]
    entries = [{"image_id": number, "id": k, "caption": text} for k, (number, text) in enumerate(pairs)]
    _write(folder / "annotations/captions_train2014.json", [json.dumps({"annotations": entries})])


def _write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _name(k, synset, setting):
    """Return a name as the collections of photographs give it."""
    if k % 5 == 0:
        return f"{setting}{k}.jpg"
    return f"COCO_train2014_{1000 + k:012d}.jpg" if k % 5 < 3 else f"{synset}_{k}.JPEG"


def _order(rng, subject, n, n_per_run, names):
    """Return the images of the trials (n_trials,), and their names by session and run."""
    shown = np.concatenate([np.arange(n), *[np.arange(N_REPEATED)] * 3])[:-N_LEFT_OUT]
    order = rng.permutation(shown)[: n_trials(subject, n_per_run)]
    n_sessions, long = SESSIONS[subject]
    keys = [(s, r) for s in range(1, n_sessions + 1) for r in range(1, 10 + (s in long))]
    parts = order.reshape(len(keys), n_per_run)
    return order, {key: [names[k] for k in part] for key, part in zip(keys, parts, strict=True)}


def _colours(images):
    """Return the mean colours of an 8 x 8 grid, float (n, 192)."""
    n, height, width, _ = images.shape
    cells = images.reshape(n, 8, height // 8, 8, width // 8, 3).mean(axis=(2, 4))
    return _scaled(cells.reshape(n, -1))


def _words(captions):
    """Return which words the captions of each image have, float (n, n_words)."""
    texts = [" ".join(of_image) for of_image in captions]
    return _scaled(CountVectorizer(binary=True).fit_transform(texts).toarray().astype(float))


def _scaled(values):
    """Return columns with mean 0 and deviation 1; what never changes stays 0."""
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _respond(rng, region, drives, order, sessions):
    """Return the responses of a region, float32 (n_trials, n_voxels), in percent signal change."""
    n_voxels, low, ncsnr = PLANTED[region]
    parts = [_scaled(of @ rng.standard_normal((of.shape[1], n_voxels))) for of in drives]
    share = np.clip(rng.normal(low, 0.05, n_voxels), 0, 1)
    described = np.sqrt(share) * parts[0] + np.sqrt(1 - share) * parts[1]
    unique = rng.standard_normal(described.shape)
    signal = np.sqrt(1 - OWN) * described + np.sqrt(OWN) * unique
    noise = rng.standard_normal((len(order), n_voxels)) / (ncsnr * rng.lognormal(0, 0.3, n_voxels))
    drift = rng.normal(0, 0.3, (sessions.max() + 1, n_voxels))
    return (0.5 * (signal[order] + noise + drift[sessions])).astype(np.float32)
