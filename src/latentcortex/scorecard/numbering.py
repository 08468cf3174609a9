"""Translate the numbers in two folders of NSD's images into ids, by the table of all of its numbers."""

import re

from latentcortex import nsd
from latentcortex.scorecard.names import some

_OF_NSD = re.compile(r"shared(\d+)_nsd(\d+)")  # NSD's own name of a shared image


def numberings(table):
    """Return the image of each number, by the name of the numbering.

    Parameters
    ----------
    table : pandas.DataFrame
        From `nsd.image_table`.

    Returns
    -------
    dict of str to dict of int to int
        0-based 73k ids by number. The names are ``73k-from-0`` (as in this package), ``73k-from-1`` (NSD's
        own files), ``shared-from-0`` (rows of MindEye2's test images), ``shared-from-1`` (NSD's shared0001),
        ``brain-diffuser-from-0`` (rows of Brain-Diffuser's test images), ``brain-diffuser-from-1``, ``coco``
        if no two images share an id, and ``subj01-10k-from-0`` and so on.
    """
    places = {"73k": table.index.to_series()}
    for column in ("shared", "brain_diffuser", *(name for name in table if name.endswith("_10k"))):
        places[column.replace("_", "-")] = table[column]
    found = {}
    for name, of in places.items():
        shown = of[of >= 0]
        for start in (0, 1):
            found[f"{name}-from-{start}"] = dict(
                zip((shown + start).tolist(), shown.index.tolist(), strict=True)
            )
    if table["coco_id"].is_unique:
        found["coco"] = dict(zip(table["coco_id"].tolist(), table.index.tolist(), strict=True))
    return found


def as_image_ids(root, named, originals, reconstructions, only_common=False):
    """Return the pictures of both folders by image id, and a note for the report.

    A numbering that is not named is found out: both folders have to show the same images. If that can be in
    several ways that pair the pictures differently, nothing is guessed.

    Parameters
    ----------
    root : path
        A tree with NSD's tables (`nsd.image_table`). It needs no images.
    named : sequence of str
        Names of `numberings`: one for both folders, one for each, or none.
    originals, reconstructions : dict of int to list of path
        Pictures by the number in their names.
    only_common : bool
        Whether images may be in one folder only. Then the numberings have to be named.

    Returns
    -------
    originals, reconstructions : dict of int to list of path
        By 0-based 73k id.
    note : str

    Raises
    ------
    ValueError
        A numbering is unknown, a number is of no image, or the numberings can't be told. The message names
        the numberings that are possible.
    """
    table = nsd.image_table(root)
    known = numberings(table)
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValueError(f"There is no numbering {unknown[0]!r}. There are: {', '.join(known)}.")
    sides = {"originals": originals, "reconstructions": reconstructions}
    named = [named[0], named[-1]] if named else [None, None]
    fitting = [
        _fitting(known, side, pictures, name, table)
        for (side, pictures), name in zip(sides.items(), named, strict=True)
    ]
    if only_common and max(map(len, fitting)) > 1:
        raise ValueError(
            "With --only-common the folders may show different images, so which numbers they use can't be "
            f"told from their images. Name it by --numbering: {_in_words(fitting)}."
        )
    images = [
        {name: [known[name][k] for k in of] for name in names}
        for names, of in zip(fitting, sides.values(), strict=True)
    ]
    pairs = [
        (first, second)
        for first, of_first in images[0].items()
        for second, of_second in images[1].items()
        if only_common or set(of_first) == set(of_second)
    ]
    if not pairs:
        raise ValueError(
            f"In no numbering do both folders show the same images: {_in_words(fitting)}. Add what is "
            "missing, or name the numberings by --numbering and score the images in both folders with "
            "--only-common."
        )
    # Two ways that pair the same pictures are one: from 0 in both folders, say, or from 1 in both.
    ways = {}
    for first, second in pairs:
        order = dict(zip(images[1][second], reconstructions, strict=True))
        ways.setdefault(tuple(order.get(k) for k in images[0][first]), []).append((first, second))
    if len(ways) > 1:
        listed = "; or ".join(f"originals {a}, reconstructions {b}" for (a, b), *_ in ways.values())
        raise ValueError(
            f"The numbers in the names can be read in {len(ways)} ways that pair different pictures: "
            f"{listed}. Say which by --numbering, one name for both folders or one for each."
        )
    first, second = pairs[0]
    translated = [
        dict(zip(images[k][name], pictures.values(), strict=True))
        for k, (name, pictures) in enumerate(zip((first, second), sides.values(), strict=True))
    ]
    note = f"Originals are numbered as {first}, reconstructions as {second}; ids are NSD's 73k ids from 0."
    if len(pairs) > 1:
        others = "; ".join(f"{a} and {b}" for a, b in pairs[1:])
        note += f" The same pictures would be pairs, under other ids, by {others}."
    return *translated, note


def _fitting(known, side, pictures, name, table):
    """Return the numberings that know all numbers of a folder."""
    for number, path in ((number, path) for number, paths in pictures.items() for path in paths):
        if match := _OF_NSD.fullmatch(path.stem):
            of_name = dict(zip(("shared-from-1", "73k-from-1"), map(int, match.groups()), strict=True))
            if len({known[one].get(k, one) for one, k in of_name.items()}) > 1:
                place, from_1 = of_name.values()
                raise ValueError(
                    f"{path} is named as NSD's shared image {place} and as image {from_1} from 1, which are "
                    "two images in this tree. Are its ids counted from 0?"
                )
            name = name or next((one for one, k in of_name.items() if k == number), None)
    # A subject's own list is never guessed: other lists have as many numbers.
    asked = [name] if name else [name for name in known if "10k" not in name]
    fits = [one for one in asked if pictures.keys() <= known[one].keys()]
    if not fits:
        lacking = {one: sorted(pictures.keys() - known[one].keys()) for one in asked}
        closest = min(lacking, key=lambda one: len(lacking[one]))
        raise ValueError(
            f"Numbers of the {side} are of no image in {'any numbering' if len(asked) > 1 else name} of this "
            f"tree with {len(table):,} images; {closest} comes closest and lacks {some(lacking[closest])}."
        )
    return fits


def _in_words(fitting):
    sides = zip(("originals", "reconstructions"), fitting, strict=True)
    return "; ".join(f"{side} can be {' or '.join(names)}" for side, names in sides)
