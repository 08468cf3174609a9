"""What BOLD5000 shows: its photographs, the collection that each comes from, and what is said of them."""

import json
import re

import numpy as np
from PIL import Image

from latentcortex import nsd
from latentcortex.nsd.reading import reading

_COCO = re.compile(r"COCO_(train2014|val2014)_0*(\d+)\.jpg")
_IMAGENET = re.compile(r"(n\d{8})_")
_PRESENTED = "Presented_Stimuli"


def collection(name):
    """Return the collection that a photograph's name tells: ``"COCO"``, ``"ImageNet"`` or ``"SUN"``."""
    if _COCO.fullmatch(name):
        return "COCO"
    return "ImageNet" if _IMAGENET.match(name) else "SUN"


class _Photographs:
    """The photographs in the order of their ids, read one by one."""

    def __init__(self, archives, names):
        self.archives, self.names = archives, names

    def __len__(self):
        return len(self.names)

    def __iter__(self):
        for name in self.names:
            file = self.archives.open(name, _PRESENTED)
            with reading(self.archives.path(name, _PRESENTED)), Image.open(file) as image:
                pixels = np.array(image.convert("RGB"))
            yield pixels


def image_set(archives, names, captions):
    """Return the images, if the photographs are there, and all that is said of them."""
    matches = [_COCO.fullmatch(name) for name in names]
    told = {
        "captions": captions,
        "coco_ids": [int(match[2]) if match else k for k, match in enumerate(matches)],
        "coco_splits": [match[1] if match else "bold5000" for match in matches],
    }
    there = archives.names(_PRESENTED)
    if not there:
        why = (
            "BOLD5000's photographs were not in the folder that it was imported from. They are in the "
            "archive BOLD5000_Stimuli.zip: put it there and import again."
        )
        return nsd.ImageSet(names, why_none=why, **told)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ValueError(
            f"{len(unknown):,} of {len(names):,} images in the lists of trials have no photograph in "
            f"{_PRESENTED}, the first being {unknown[0]}. Is a list damaged, or the archive cut short?"
        )
    return nsd.ImageSet(names, _Photographs(archives, names), **told)


def read_captions(archives, names):
    """Return the captions of all images, or None, and in words where they come from."""
    coco, labels = _coco_captions(archives), _imagenet_labels(archives)
    found = []
    for name in names:
        match, synset = _COCO.fullmatch(name), _IMAGENET.match(name)
        label = labels.get(synset[1]) if synset else re.sub(r"\d*\.\w+$", "", name).replace("_", " ").strip()
        if match:
            found.append(coco.get(int(match[2]), []))
        else:
            found.append([f"a photo of {label}"] if label else [])
    missing = [name for name, texts in zip(names, found, strict=True) if not texts]
    if missing:
        return None, (
            f"none: {len(missing):,} of {len(names):,} images have no caption in the source, the first being "
            f"{missing[0]}. COCO's files of captions and imagenet_final_labels.txt have them."
        )
    return found, "COCO's own for its images; for those of ImageNet and SUN 'a photo of' and the label"


def _coco_captions(archives):
    """Return COCO's captions by its ids, from all of its files that are there. Its ids never changed."""
    found = {}
    for name in sorted(archives.names()):
        if re.fullmatch(r"captions_(train|val)201[47]\.json", name):
            file = archives.open(name)
            with reading(archives.path(name)):
                entries = json.load(file)["annotations"]
            own = {}
            for entry in entries:
                own.setdefault(entry["image_id"], []).append(entry["caption"])
            found |= own  # an image that is in two files has the same captions in both
    return found


def _imagenet_labels(archives):
    """Return the first word for each synset."""
    name = "imagenet_final_labels.txt"
    if archives.path(name) is None:
        return {}
    lines = archives.open(name).read().decode().splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[0]: pair[1].split(",")[0].strip() for pair in pairs if len(pair) == 2}
