"""Damage every kind of file of a tree in many ways: nothing passes unseen, no error without a path.

Run as a script, it repeats the campaign with more cases and prints the counts:
``python tests/test_nsd_faults.py 20``.
"""

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from latentcortex import nsd
from latentcortex.nsd import write_measured, write_shown

VERSION = "betas_fithrf_GLMdenoise_RR"
SHAPE, REGIONS = (4, 9, 9), ("early", "ventral")


def add_volumes_and_synthetic(root, truth):
    """Give the tiny tree of subject 1 volumes in three forms and a session of NSD-synthetic."""
    rng = np.random.default_rng(4)
    for space, form in (("func1pt8mm", "hdf5"), ("func1mm", "nii.gz")):
        for session in (1, 2, 3):
            betas = truth.betas["subj01", session].reshape(-1, *SHAPE)
            write_measured.write_volume_betas_session(root, "subj01", session, betas, None, space, form)
        ncsnr = truth.ncsnr.reshape(SHAPE).astype(np.float32)
        write_measured.write_volume(root, "subj01", "ncsnr", ncsnr, None, space)
        labels = truth.labels.reshape(SHAPE).astype(np.int16)
        write_measured.write_volume(root, "subj01", "roi/streams", labels, None, space)
    write_shown.write_stimuli(root, rng.integers(0, 256, (6, 12, 10, 3), dtype=np.uint8), "nsdsynthetic")
    write_shown.write_design(root, rng.permutation(np.repeat(np.arange(6), 2)), np.ones((1, 3, 4), bool))
    write_measured.write_betas_session(root, "subj01", "nsdsynthetic", rng.normal(3, 2, (12, 324)))


def regions(root, space="fsaverage", subject=None):
    masks = [nsd.roi_mask(root, "streams", name, space, subject) for name in REGIONS]
    return nsd.roi_names(root, "streams"), nsd.roi(root, "streams", space, subject), *masks


_EXPERIMENTS, _STIMULI = "nsddata/experiments", "nsddata_stimuli/stimuli"
_BETAS, _LABELS = "nsddata_betas/ppdata/subj01", "nsddata/freesurfer/fsaverage/label"

# kind: file, what is read from it. Only these files belong to the readers of `nsd`.
FILES = {
    "design": (f"{_EXPERIMENTS}/nsd/nsd_expdesign.mat", lambda r: nsd.trials(r, "subj01")),
    "log": ("nsddata/ppdata/subj01/behav/responses.tsv", lambda r: nsd.trials(r, "subj01")),
    "table of stimuli": (
        f"{_EXPERIMENTS}/nsd/nsd_stim_info_merged.csv",
        lambda r: nsd.captions(r, np.arange(72)),
    ),
    "captions": ("annotations/captions_val2017.json", lambda r: nsd.captions(r, np.arange(72))),
    "stimuli": (f"{_STIMULI}/nsd/nsd_stimuli.hdf5", lambda r: nsd.images(r, np.arange(72))),
    "names of regions": (f"{_LABELS}/streams.mgz.ctab", regions),
    "regions, surface": (f"{_LABELS}/lh.streams.mgz", regions),
    "regions, volume": (
        "nsddata/ppdata/subj01/func1mm/roi/streams.nii.gz",
        lambda r: regions(r, "func1mm", "subj01"),
    ),
    "betas, surface": (
        f"{_BETAS}/fsaverage/{VERSION}/rh.betas_session02.mgh",
        lambda r: nsd.betas(r, "subj01"),
    ),
    "betas, hdf5": (
        f"{_BETAS}/func1pt8mm/{VERSION}/betas_session02.hdf5",
        lambda r: nsd.betas(r, "subj01", "func1pt8mm"),
    ),
    "betas, NIfTI": (
        f"{_BETAS}/func1mm/{VERSION}/betas_session02.nii.gz",
        lambda r: nsd.betas(r, "subj01", "func1mm"),
    ),
    "ncsnr, surface": (f"{_BETAS}/fsaverage/{VERSION}/lh.ncsnr.mgh", lambda r: nsd.ncsnr(r, "subj01")),
    "ncsnr, volume": (
        f"{_BETAS}/func1mm/{VERSION}/ncsnr.nii.gz",
        lambda r: nsd.ncsnr(r, "subj01", "func1mm"),
    ),
    "synthetic design": (
        f"{_EXPERIMENTS}/nsdsynthetic/nsdsynthetic_expdesign.mat",
        lambda r: nsd.synthetic_responses(r, "subj01"),
    ),
    "synthetic stimuli": (
        f"{_STIMULI}/nsdsynthetic/nsdsynthetic_stimuli.hdf5",
        lambda r: nsd.synthetic_images(r),
    ),
    "synthetic betas": (
        f"{_BETAS}/fsaverage/nsdsynthetic{VERSION}/lh.betas_nsdsynthetic.mgh",
        lambda r: nsd.synthetic_responses(r, "subj01"),
    ),
}


def flip(content, rng, n, last=None):
    """Change n bytes, each to another value, among the first `last`."""
    damaged = bytearray(content)
    for place in rng.integers(0, min(len(content), last or len(content)), n):
        damaged[place] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def zero_block(content, rng):
    size = len(content) // 10
    start = int(rng.integers(0, len(content) - size))
    return content[:start] + bytes(size) + content[start + size :]


DAMAGES = {
    "one byte": lambda content, rng, _: flip(content, rng, 1),
    "twenty bytes": lambda content, rng, _: flip(content, rng, 20),
    "header": lambda content, rng, _: flip(content, rng, 3, 100),
    "zero block": lambda content, rng, _: zero_block(content, rng),
    "cut": lambda content, rng, _: content[: int(rng.integers(1, len(content)))],
    "cut end": lambda content, rng, _: content[: -int(rng.integers(1, 40))],
    "empty": lambda *_: b"",
    "zeros": lambda content, *_: bytes(len(content)),
    "another file": lambda _, rng, others: others[rng.integers(len(others))],
}


def equal(found, right):
    if isinstance(right, tuple):
        return len(found) == len(right) and all(map(equal, found, right))
    if isinstance(right, pd.DataFrame):
        return right.equals(found)
    if isinstance(right, list):
        return found == right
    return np.array_equal(found, right, equal_nan=right.dtype.kind == "f")


def try_one(root, path, read, content, right):
    """Read a damaged file: same, silent (another result), path or no path (an error)."""
    path.write_bytes(content)
    try:
        found = read(root)
    except Exception as error:
        return "path" if str(path) in str(error) else "no path", error
    return ("same" if equal(found, right) else "silent"), None


def campaign(root, n, seed=0):
    """Damage each kind of file in each way n times; yield (kind, damage, outcome, error)."""
    contents = {kind: (root / relative).read_bytes() for kind, (relative, _) in FILES.items()}
    for k, (kind, (relative, read)) in enumerate(FILES.items()):
        path, right = root / relative, read(root)
        others = [
            content for other, content in contents.items() if Path(FILES[other][0]).suffix != path.suffix
        ]
        for d, (damage, spoil) in enumerate(DAMAGES.items()):
            for i in range(1 if damage in ("empty", "zeros") else n):
                rng = np.random.default_rng([seed, k, d, i])
                content = spoil(contents[kind], rng, others)
                yield kind, damage, *try_one(root, path, read, content, right)
        path.write_bytes(contents[kind])
        assert equal(read(root), right)


# Raw numbers and plain text carry no checksum: there another byte can be another value, and a block of
# zeros other values. All else is told: what was cut, emptied or swapped, and every damage to packed files.
WITHOUT_CHECKSUM = {
    "log",
    "table of stimuli",
    "captions",
    "names of regions",
    "stimuli",
    "synthetic stimuli",
    "betas, surface",
    "synthetic betas",
    "ncsnr, surface",
    "betas, hdf5",
}
CHANGED_VALUES = {"one byte", "twenty bytes", "zero block"}


def test_no_damage_passes_unseen_and_no_error_lacks_the_path(tiny_tree, tiny_truth, tmp_path):
    root = shutil.copytree(tiny_tree, tmp_path / "nsd")
    add_volumes_and_synthetic(root, tiny_truth)
    counts = Counter()
    for kind, damage, outcome, error in campaign(root, 3):
        counts[outcome] += 1
        assert outcome != "no path", (kind, damage, error)
        if outcome == "silent":
            assert kind in WITHOUT_CHECKSUM and damage in CHANGED_VALUES, (kind, damage)
    print(f"\ndamaged files: {dict(counts)}")
    assert counts["path"] > 10 * counts["silent"]


if __name__ == "__main__":
    from conftest import write_tiny_tree

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "nsd")
        add_volumes_and_synthetic(tree, write_tiny_tree(tree))
        rows = list(campaign(tree, int(sys.argv[1])))
    table = pd.DataFrame([row[:3] for row in rows], columns=["file", "damage", "outcome"])
    print(pd.crosstab(table["file"], table["outcome"], margins=True))
    bad = table[table["outcome"].isin(["silent", "no path"])]
    print(pd.crosstab([bad["outcome"], bad["file"]], bad["damage"]).to_string())
    for kind, damage, outcome, error in rows:
        if outcome == "no path":
            print(f"{kind}, {damage}: {type(error).__name__}: {str(error)[:200]}")
