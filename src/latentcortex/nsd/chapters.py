"""What each chapter of the book reads of a tree, as data. Downloads are planned and trees checked by it."""

from pathlib import Path

_COARSE = ("streams", "nsdgeneral")
_AREAS = (*_COARSE, "prf-visualrois", "floc-faces", "floc-places", "floc-bodies")
_DECODING = frozenset({"betas", "images", "captions", *_COARSE})
_MAPS = frozenset({"betas", "ncsnr", "images", "captions", *_AREAS})

# Chapters by number, primers and pages under a chapter by how their files begin: the parts of a tree that
# they read, themselves or through the scripts that make their products. All read the design and the log.
# Names other than betas, ncsnr, images and captions are atlases.
CHAPTERS = {
    "primer_fmri": frozenset({"betas", "ncsnr", "images", *_COARSE, "prf-visualrois"}),
    "primer_diffusion": frozenset({"images", "captions"}),
    1: _MAPS,
    2: frozenset({"betas", "ncsnr", *_COARSE, "prf-visualrois"}),
    3: frozenset({"images", "captions"}),
    4: _DECODING | {"prf-visualrois"},
    **dict.fromkeys((5, 6, 7, 8, "08b", 9), _DECODING),
    **dict.fromkeys((10, 11, 12, 13), _MAPS),
    14: _DECODING,
    15: frozenset({"betas", "images", "captions", "bold5000"}),
}
# Atlases that a data set need not have, and the chapters that leave out the areas it does not draw.
NOT_ALWAYS_DRAWN = frozenset(_AREAS) - frozenset(_COARSE)
LEAVE_AREAS_OUT = frozenset({2, 10, 11, 12, 13})
# These compare z with c. Without images, features of this network that came with the data stand for z.
PUBLISHED_MODEL = "CLIP"
WITHOUT_IMAGES = frozenset({5, 10, 13})
# These hold all test images in memory at once; training images are read in parts.
TEST_IMAGES_AT_ONCE = frozenset({6, 8, "08b", 9})
# These compare visual cortex with cortex outside it, which a data set of regions alone does not have.
OUTSIDE_VISUAL_CORTEX = frozenset({1, 4})


def needs(chapters):
    """Return what some chapters read besides the design and the log, as a set of names of parts.

    Parameters
    ----------
    chapters : sequence of int or str
        Keys of `CHAPTERS`. No chapters read nothing.

    Raises
    ------
    ValueError
        There is no such chapter on this data.
    """
    unknown = [str(chapter) for chapter in chapters if chapter not in CHAPTERS]
    if unknown:
        raise ValueError(
            f"Expected chapters from 1 to 15, 08b, primer_fmri or primer_diffusion, got {', '.join(unknown)}."
        )
    return frozenset().union(*(CHAPTERS[chapter] for chapter in chapters))


def chapters_for(root):
    """Return the chapters that a tree may be for: all, but 15 only where regions of BOLD5000 are."""
    has = (Path(root) / "nsddata/freesurfer/fsaverage/label/bold5000.mgz.ctab").is_file()
    return tuple(chapter for chapter, parts in CHAPTERS.items() if has or "bold5000" not in parts)


def chapter_name(chapter):
    """Return a chapter as its file begins, such as ``"05"`` or ``"primer_fmri"``."""
    return chapter if isinstance(chapter, str) else f"{chapter:02d}"


def chapter_number(text):
    """Return the key in `CHAPTERS` of what a reader wrote as ``5``, ``05``, ``8b`` or ``primer_fmri``."""
    if text.isdecimal():
        return int(text)
    return text.zfill(len("08b")) if text[:1].isdecimal() else text
