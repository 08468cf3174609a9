"""Say what a tree holds, for which chapters of the book that is enough, and how to mend what is not.

Headers, sizes and the log are read, and one place of each file of betas, so that a tree of full size takes
seconds. Damage in the middle of a file stays unseen, and so does the end of a packed volume (``.nii.gz``),
which would have to be unpacked. `latentcortex.nsd` finds both when it reads the file.
"""

import contextlib
import dataclasses
import functools
import os
import textwrap
from pathlib import Path

import numpy as np

from latentcortex import store
from latentcortex.nsd import inspected_betas, tree, volumes
from latentcortex.nsd.captions import captions
from latentcortex.nsd.chapters import (
    LEAVE_AREAS_OUT,
    NOT_ALWAYS_DRAWN,
    OUTSIDE_VISUAL_CORTEX,
    PUBLISHED_MODEL,
    TEST_IMAGES_AT_ONCE,
    WITHOUT_IMAGES,
    chapter_name,
    chapters_for,
    needs,
)
from latentcortex.nsd.design import read_matlab, trials
from latentcortex.nsd.files import COCO_CAPTIONS, STIMULI
from latentcortex.nsd.findings import Asked, Finding, look
from latentcortex.nsd.images_by_range import images_there
from latentcortex.nsd.inspected_betas import in_words
from latentcortex.nsd.published import published_models
from latentcortex.nsd.regions import roi, roi_names
from latentcortex.nsd.responses import SPACES
from latentcortex.nsd.stimuli import NO_IMAGES, images, open_stimuli

_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
# Bytes of the features of an image that decoding and encoding keep in the cache, in the sizes of Stable
# Diffusion 1.4 and ViT-B/32: z 4x64x64, c 77x768, g six layers of 50x768 (float32).
_FEATURE_BYTES = 4 * (4 * 64 * 64 + 77 * 768 + 6 * 50 * 768)


def inspect(root, subjects=None, space="fsaverage", sessions=None, chapters=None, image_size=None):
    """Return what was found of all parts of a tree that some chapters read, as a list of `Finding`.

    A part that is missing or damaged is a finding, and the next part is looked at.

    Parameters
    ----------
    root : path
    subjects : sequence of str, optional
        Such as ``["subj01"]``; by default all that have betas.
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}
    sessions : sequence of int, optional
        1-based; by default those on disk.
    chapters : sequence of int or str, optional
        Keys of `chapters.CHAPTERS`; by default those of `chapters.chapters_for`.
    image_size : int, optional
        Width and height of the model's images in pixels, for the estimate of memory; by default 512.

    Returns
    -------
    list of Finding
        A chapter can run if no finding whose state is "missing" or "wrong" names it, see `blocked`.

    Raises
    ------
    ValueError
        No such chapter or space.
    """
    chosen = tuple(chapters_for(root) if chapters is None else chapters)
    needs(chosen)  # refuses unknown ones
    if space not in SPACES:
        raise ValueError(f"Can't check betas in space {space!r}. There are: {', '.join(SPACES)}.")
    asked = Asked(Path(root), tuple(subjects or ()), space, sessions and tuple(sessions), chosen)
    near = [folder for folder in (asked.root.parent, *asked.root.glob("*")) if (folder / "nsddata").is_dir()]
    if near and not (asked.root / "nsddata").is_dir():
        text = f"{root} has no folder nsddata, but {near[0]} has one."
        return [Finding("tree", "missing", text, f"Pass {near[0]}.", chosen)]
    found, there = look(asked, "tree", lambda: _tree(asked))
    if there is None:
        return [found]
    asked = dataclasses.replace(asked, subjects=asked.subjects or there)
    found = [found, _terms(asked), *_unfinished(asked)]
    found.append(look(asked, "design", lambda: _design(asked), files=(_DESIGN,))[0])
    tables, voxels = [], 0
    for subject in asked.subjects:
        of_subject, table, n_visual = _subject(asked, subject, there)
        found += of_subject
        tables += [] if table is None else [table]
        voxels = max(voxels, n_visual)
    seen = np.unique(np.concatenate([table["image_id"] for table in tables])) if tables else None
    of_images = look(asked, "images", lambda: _images(asked, seen), files=(STIMULI,))[0]
    found += _as_published(asked, of_images) if of_images else ()
    of_captions = (_INFO, *COCO_CAPTIONS)
    found.append(look(asked, "captions", lambda: _captions(asked, seen), files=of_captions)[0])
    found += _room(asked, tables, voxels, image_size or 512)
    return _merged(found)


def space_of(root):
    """Return the space that a tree's betas lie in: the first volume where there are no surfaces."""
    found = {path.name for path in Path(root).glob("nsddata_betas/ppdata/subj*/*")}
    known = [space for space in ("fsaverage", *volumes.SPACES) if space in found]
    return known[0] if known else "fsaverage"


def blocked(findings, chapters):
    """Return the findings that each chapter can't run with, as a dict of list of `Finding` by chapter."""
    faults = [finding for finding in findings if finding.state in ("missing", "wrong")]
    return {chapter: [f for f in faults if chapter in f.chapters] for chapter in chapters}


def report(findings, chapters):
    """Print findings and which chapters can run; return the exit status, 0 if all of them can.

    Parameters
    ----------
    findings : list of Finding
    chapters : sequence of int or str
        As `inspect` was asked for.
    """
    for finding in findings:
        owner = f" ({', '.join(finding.subjects)})" if finding.subjects else ""
        sign = {"there": "ok", "note": "note"}.get(finding.state, finding.state.upper())
        _print(f"{sign:<8} {finding.part}{owner}: {finding.text}")
        if finding.advice:
            _print(f"{'':<8} -> {finding.advice}")
    faults = blocked(findings, chapters)
    ready = [chapter_name(chapter) for chapter in chapters if not faults[chapter]]
    print(f"\nCan run: {', '.join(ready) or 'no chapter yet'}.")
    heeded = [finding.part for finding in findings if finding.state == "note" and finding.advice]
    if heeded:
        print(f"Read the notes on {' and '.join(heeded)} first.")
    for chapter in chapters:
        if faults[chapter]:
            print(f"Can't run yet: {chapter_name(chapter)}, for want of {_parts_in_words(faults[chapter])}.")
    return int(len(ready) < len(chapters))


def _print(text):
    print(
        textwrap.fill(text, 110, subsequent_indent=" " * 12, break_long_words=False, break_on_hyphens=False)
    )


def _parts_in_words(faults):
    names = list(dict.fromkeys(finding.part for finding in faults))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _tree(asked):
    """Find the subjects that have betas."""
    known = tuple(tree.subjects(asked.root))
    if not known:
        raise FileNotFoundError(f"No subject (subj01, subj02, ...) in {asked.root / 'nsddata_betas/ppdata'}.")
    return f"betas of {', '.join(known)}", known


def _terms(asked):
    text = {
        "simulated": "The data are simulated: you may use and pass them on as you like.",
        "imported": f"Licence and source stand in {asked.root / 'provenance.json'}.",
        "measured": "NSD is for research and education, after its form was signed. No data, images or arrays "
        "made of them may be passed on to anyone.",
    }[asked.origin]
    return Finding("terms", "note", text)


def _unfinished(asked):
    names = sorted(path.name.removesuffix(".part")[1:] for path in asked.root.rglob(".*.part"))
    if names:
        text = f"{len(names)} files were not fetched to their end, such as {names[0]}."
        yield Finding("downloads", "note", text, "Run the same download again: it goes on where it was.")


def _design(asked):
    content = read_matlab(tree.existing_path(asked.root, _DESIGN), ("subjectim", "sharedix"))
    n_subjects, n_images = content["subjectim"].shape
    return f"{n_images:,} images for each of {n_subjects} subjects, {content['sharedix'].size:,} shared", True


def _subject(asked, subject, known):
    """Return findings, the table of trials or None, and the number of voxels of visual cortex."""
    if subject not in known:
        text = f"{subject} has no betas in {asked.root}. There are: {', '.join(known)}."
        return [Finding("subject", "missing", text, asked.mend(), asked.chapters, (subject,))], None, 0
    log = f"nsddata/ppdata/{subject}/behav/responses.tsv"
    found, table = look(asked, "log", lambda: _log(asked, subject), (log,), subject)
    found, masks = [found], {}
    for atlas in sorted(needs(asked.chapters) - {"betas", "ncsnr", "images", "captions"}):
        files = inspected_betas.region_files(asked, subject, atlas)
        take = functools.partial(_atlas, asked, subject, atlas)
        of_atlas, masks[atlas] = look(asked, atlas, take, files, subject)
        found += _as_drawn(asked, of_atlas)
    masks = {atlas: mask for atlas, mask in masks.items() if mask is not None}
    found += inspected_betas.findings(asked, subject, table, masks)
    if "nsdgeneral" in masks:
        found += _outside(asked, subject, masks["nsdgeneral"])
    visual = [masks[atlas] for atlas in ("nsdgeneral", "streams", "bold5000") if atlas in masks]
    same = [mask for mask in visual if mask.shape == visual[0].shape]
    return found, table, int(np.any(same, axis=0).sum()) if same else 0


def _outside(asked, subject, visual):
    """Yield a finding if chapters look outside visual cortex and the atlas marks no other cortex."""
    chapters = tuple(chapter for chapter in asked.chapters if chapter in OUTSIDE_VISUAL_CORTEX)
    is_outside = ~visual
    if asked.space in volumes.SPACES:  # the atlas says -1 outside cortex
        is_outside = roi(asked.root, "nsdgeneral", asked.space, subject) == 0
    if chapters and not is_outside.any():
        text = "these data end where visual cortex ends, and these chapters compare it with other cortex"
        yield Finding("other cortex", "missing", text, "Run the other chapters.", chapters, (subject,))


def _as_drawn(asked, finding):
    """Yield a finding of an atlas; a note for chapters that can do without, where other data lack it."""
    without = [chapter for chapter in finding.chapters if chapter in LEAVE_AREAS_OUT]
    lacks = finding.state == "missing" and finding.part in NOT_ALWAYS_DRAWN and asked.origin == "imported"
    text = "not drawn in this data set, so without its areas"
    yield from _with_note(finding, without, text) if lacks and without else (finding,)


def _as_published(asked, finding):
    """Yield the finding of images; a note for chapters that take published features where there are none."""
    without = [chapter for chapter in finding.chapters if chapter in WITHOUT_IMAGES]
    lacks = (asked.root / NO_IMAGES).is_file() and PUBLISHED_MODEL in published_models(asked.root)
    text = f"not in this data set, so with the published features of {PUBLISHED_MODEL} in place of z"
    yield from _with_note(finding, without, text) if lacks and without else (finding,)


def _with_note(finding, without, text):
    """Yield a note for the chapters that can do without a part, and the finding for all others."""
    text += f": {', '.join(map(chapter_name, without))}"
    yield dataclasses.replace(finding, state="note", text=text, advice="", chapters=tuple(without))
    others = tuple(chapter for chapter in finding.chapters if chapter not in without)
    if others:
        yield dataclasses.replace(finding, chapters=others)


def _log(asked, subject):
    table = trials(asked.root, subject, asked.sessions)
    if table.empty:
        raise FileNotFoundError(f"No session of betas of {subject} in {asked.root}.")
    names = in_words(table["session"].unique())
    return f"{len(table):,} trials in {names}, as the design plans them", table


def _atlas(asked, subject, atlas):
    names = roi_names(asked.root, atlas).set_index("code")["name"]
    codes = roi(asked.root, atlas, asked.space, subject)
    mask = codes > 0
    if not mask.any():
        raise ValueError(f"{atlas} marks nothing in {asked.space} for {subject}.")
    listed = ", ".join(names[np.unique(codes[mask])])
    return f"{listed if len(listed) < 80 else f'{len(names)} regions'}: {mask.sum():,} of {mask.size:,}", mask


def _images(asked, seen):
    path, single = asked.root / STIMULI, None
    with contextlib.suppress(OSError):  # said below by `images`
        single = images_there(path)
    ids = np.zeros(1, int) if seen is None else seen
    lacking = [] if single is None else np.setdiff1d(ids, single)
    if len(lacking):
        raise ValueError(
            f"{path} was fetched image by image and holds {len(single):,} images. {len(lacking):,} that the "
            f"subjects saw in these sessions are not among them, the first being {lacking[0]}."
        )
    images(asked.root, ids[[-1, len(ids) // 2]])  # the highest id is there, and neither is black
    with open_stimuli(path) as brick:
        text = f"{len(brick):,} images of {brick.shape[1]} x {brick.shape[2]} pixels"
    return text + ("" if single is None else f", {len(single):,} of them fetched"), True


def _captions(asked, seen):
    texts = captions(asked.root, np.zeros(1, int) if seen is None else seen)
    return f"{sum(map(len, texts)) / len(texts):.1f} captions of each of {len(texts):,} images", True


def _room(asked, tables, voxels, image_size):
    """Estimate memory and disk; notes only, because chapters may need less."""
    if not tables or asked.origin == "simulated":
        return
    sizes = [len(table) for table in tables]
    betas = 4 * 2 * max(sizes) * voxels  # single trials, and their z-scores
    n_images = max(table.loc[table["shared"], "image_id"].nunique() for table in tables)
    pictures = 4 * 3 * image_size**2 * n_images
    large = [chapter_name(c) for c in asked.chapters if c in TEST_IMAGES_AT_ONCE]
    text = f"Responses of a subject take about {store.in_words(betas)}."
    if large:
        text += (
            f" Chapters {', '.join(large)} hold {n_images:,} test images of {image_size} pixels besides, "
            f"{store.in_words(pictures)}."
        )
    advice = ""
    if hasattr(os, "sysconf"):  # absent on Windows
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        text += f" This machine has {store.in_words(memory)}."
        if not betas + (pictures if large else 0) < memory:
            advice = "Take fewer sessions, a smaller image_size in the preset, or a larger machine."
    yield Finding("memory", "note", text, advice)
    kept = {image_id for table in tables for image_id in table["image_id"]}
    free, about = store.free_bytes(store.cache_folder()), _FEATURE_BYTES * len(kept)
    yield Finding(
        "disk",
        "note",
        f"Features of {len(kept):,} images take up to {store.in_words(about)} in the cache, in the sizes "
        f"of Stable Diffusion 1.4. Free on its disk: {store.in_words(free)}.",
        "" if free > about else "Set LATENTCORTEX_CACHE to a folder on a larger disk.",
    )


def _merged(findings):
    """Put together what is the same for several subjects, and leave out parts that nobody asked for."""
    groups = {}
    for finding in findings:
        if finding is not None:
            groups.setdefault(dataclasses.replace(finding, subjects=()), []).extend(finding.subjects)
    return [dataclasses.replace(one, subjects=tuple(names)) for one, names in groups.items()]
