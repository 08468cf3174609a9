"""Edit one thing in test scenes of a simulated world, and simulate the responses to the edited scenes.

An edited scene and its test scene form a causal pair: one thing was removed, moved or recoloured, and nothing
else differs. Each test scene is also shown again without any change, as another image. A decoder that reports
a change there reports something that did not happen.

Only a simulation can do this, because it can show the same subject another image in a session of its own.
"""

import dataclasses
import json
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentcortex import nsd
from latentcortex.features.checks import as_count
from latentcortex.mini import cortex, scenes
from latentcortex.mini.props import COLOURS
from latentcortex.nsd.design import read_matlab
from latentcortex.studies import decoding, jobs, planted

EDITS = ("removed", "moved", "recoloured")
UNCHANGED = "unchanged"
N_SCENES = 100  # each once edited and once unchanged
N_SHOWINGS = 3
SEED = 23
REACH = 1.1  # things of the world stand at x from -REACH to REACH
LEAST_SHIFT = 0.5  # of a moved thing: about its width, so that a place next door is seen as another place


@dataclass(frozen=True)
class Edit:
    """Describe a test scene in which one thing was edited, or which is shown again unchanged.

    Attributes
    ----------
    image_id : int
        Id of the test image that shows the scene before the edit.
    kind : str
        One of `EDITS`, or `UNCHANGED`.
    thing : int or None
        Number of the edited thing in the scene before the edit. None if nothing was edited.
    scene : mini.scenes.Scene
        The scene after the edit.
    """

    image_id: int
    kind: str
    thing: int | None
    scene: scenes.Scene


def choose(study, rng=None, n_scenes=N_SCENES):
    """Return edited test scenes of a study, then the same scenes unchanged, in the same order.

    Parameters
    ----------
    study : Study
        Its data must be simulated.
    rng : numpy.random.Generator, optional
        Draws the scenes, their things and the edits. By default the same each time.
    n_scenes : int
        Number of scenes, at most. There are fewer if the study has fewer test images.

    Returns
    -------
    list of Edit
        As from `choose_among`.
    """
    jobs.check_simulated(study, "What a test image shows, and what it would show after an edit,")
    rng = np.random.default_rng(SEED) if rng is None else rng
    ids = study.image_ids.tolist()
    drawn = planted.read_scenes(study.root, study.image_ids)
    return choose_among(dict(zip(ids, drawn, strict=True)), rng, n_scenes)


def choose_among(drawn, rng, n_scenes=N_SCENES):
    """Return edited scenes of some images, then the same scenes unchanged, in the same order.

    The kinds of edit take turns. A thing is removed only from a scene with two, because every scene of the
    world holds at least one. A thing is moved only in a scene where it is alone. Of two things, one always
    stands on the left and one on the right, so no third place would give a scene of the world. No edit leads
    to a combination that is held back.

    Parameters
    ----------
    drawn : dict of int to mini.scenes.Scene
        Ordinary scenes by image id.
    rng : numpy.random.Generator
        Draws the scenes, their things and the edits.
    n_scenes : int
        Number of scenes, at most.

    Returns
    -------
    list of Edit
        An even number: the first half is edited, and the second half unchanged.

    Raises
    ------
    ValueError
        If there is no scene, or if a scene holds nothing that may be edited. Also if the scenes are not a
        dict whose keys are whole numbers, or if `n_scenes` is not a whole number of at least 1.
    """
    _check_editable(drawn, n_scenes)
    left = {image_id: drawn[image_id] for image_id in rng.permutation(list(drawn)).tolist()}
    edited, unchanged = [], []
    while left and len(edited) < n_scenes:
        turn = len(edited) % len(EDITS)
        # Where no scene is left for the kind whose turn it is, the next kind takes it.
        kinds = EDITS[turn:] + EDITS[:turn]
        allowed = ((i, kind) for kind in kinds for i, scene in left.items() if _allows(scene, kind))
        image_id, kind = next(allowed)
        base = left.pop(image_id)
        thing = int(rng.integers(len(base.things)))
        edited.append(Edit(image_id, kind, thing, _edited(base, kind, thing, rng)))
        unchanged.append(Edit(image_id, UNCHANGED, None, base))
    return edited + unchanged


def _check_editable(drawn, n_scenes):
    if not isinstance(drawn, Mapping):
        raise ValueError(f"Expected a dict of scenes by image id, got {type(drawn).__name__}.")
    if isinstance(n_scenes, bool):  # Python counts True as 1
        raise ValueError(f"Expected n_scenes as a whole number of at least 1, got {n_scenes}.")
    as_count(n_scenes, "n_scenes")
    if not drawn:
        raise ValueError("Expected at least one scene to edit, got none.")
    for image_id, scene in drawn.items():
        if not isinstance(image_id, numbers.Integral) or isinstance(image_id, bool):
            raise ValueError(f"Expected whole numbers as image ids of scenes, got {image_id!r}.")
        if not scene.things:
            raise ValueError(f"The scene of image {image_id} holds no thing, so there is nothing to edit.")
        # Moved, it would still be held back, and a held-back kind has no colour that is not.
        for thing in scene.things:
            if scenes.is_held_back(thing.kind, thing.colour, scene.setting):
                raise ValueError(
                    f"The scene of image {image_id} holds a combination that is held back: {thing.kind}, "
                    f"{thing.colour}, {scene.setting}. Only ordinary scenes can be edited."
                )


def _allows(scene, kind):
    """Return whether a scene of this world is still one of this world after an edit."""
    if kind == "recoloured":
        return True
    return len(scene.things) == {"removed": 2, "moved": 1}[kind]


def _edited(scene, kind, number, rng):
    """Return a scene in which one thing is edited."""
    thing, new = scene.things[number], ()
    if kind == "moved":
        new = (dataclasses.replace(thing, x=_elsewhere(thing, rng)),)
    if kind == "recoloured":
        others = [colour for colour in COLOURS if colour != thing.colour]
        free = [of for of in others if not scenes.is_held_back(thing.kind, of, scene.setting)]
        new = (dataclasses.replace(thing, colour=str(rng.choice(free))),)
    things = (*scene.things[:number], *new, *scene.things[number + 1 :])
    return dataclasses.replace(scene, things=things)


def _elsewhere(thing, rng):
    """Return an x in one of the two other places."""
    place = rng.choice([name for name in scenes.PLACES if name != thing.place])
    while True:
        x = float(rng.uniform(-REACH, REACH))
        if dataclasses.replace(thing, x=x).place == place and abs(x - thing.x) >= LEAST_SHIFT:
            return x


def questions(edits):
    """Return what is asked of each pair, as numbers of the judge's labels.

    Parameters
    ----------
    edits : list of Edit
        As from `choose`.

    Returns
    -------
    pandas.DataFrame
        One row per edited scene. ``image_id``; ``edit``; ``kind`` of the edited thing; ``old`` and ``new``,
        its place if it was moved, its colour if it was recoloured, and -1 if it was removed; and what was not
        edited: ``setting``, ``time``, and ``other``, the kind of the other thing, or -1 if there is none.
    """
    bases = {edit.image_id: edit.scene for edit in edits if edit.kind == UNCHANGED}
    rows = []
    for edit in (edit for edit in edits if edit.kind != UNCHANGED):
        base = bases[edit.image_id]
        thing, old, new = base.things[edit.thing], -1, -1
        if edit.kind == "moved":
            old, new = (scenes.PLACES.index(of.things[edit.thing].place) for of in (base, edit.scene))
        if edit.kind == "recoloured":
            old, new = (list(COLOURS).index(of.things[edit.thing].colour) for of in (base, edit.scene))
        others = [scenes.KINDS.index(one.kind) for k, one in enumerate(base.things) if k != edit.thing]
        rows.append(
            {
                "image_id": edit.image_id,
                "edit": edit.kind,
                "kind": scenes.KINDS.index(thing.kind),
                "old": old,
                "new": new,
                "setting": scenes.SETTINGS.index(base.setting),
                "time": scenes.TIMES.index(base.time),
                "other": others[0] if others else -1,
            }
        )
    return pd.DataFrame(rows)


def images(study, edits):
    """Return the rendered scenes, uint8 (n, h, w, 3); they are kept."""
    shelf = study.shelf("edited-images", [scenes.render], {"edits": _described(edits)})
    return shelf.get(("all",), lambda: {"images": scenes.render([edit.scene for edit in edits])})["images"]


def where_changed(base_images, edited_images):
    """Return a mask (n, h, w) of the pixels in which rendered scenes differ, with shadows and reflections.

    Parameters
    ----------
    base_images, edited_images : uint8 arrays (n, h, w, 3)
    """
    base_images, edited_images = np.asarray(base_images), np.asarray(edited_images)
    shapes = base_images.shape, edited_images.shape
    if shapes[0] != shapes[1] or base_images.ndim != 4 or shapes[0][-1] != 3:
        raise ValueError(f"Expected two arrays of images (n, h, w, 3) of one shape, got {shapes}.")
    return (base_images != edited_images).any(axis=-1)


def responses(study, subject, edits=None):
    """Return a simulated subject's responses to edited scenes, shown in a session after all others; kept.

    Two things differ from the responses to the test images themselves, in edited and in unchanged scenes
    alike. Noise is that of another session. And what is specific to an image, half of what repeats, is drawn
    for each image: a scene that is shown again as another image gets another specific term. This is why
    unchanged scenes show how much a decoded picture changes although nothing in the scene did.

    Parameters
    ----------
    study : Study
        Its data must be simulated, and read on the surface.
    subject : str
    edits : list of Edit, optional
        By default those of `choose`.

    Returns
    -------
    float32 array (n, n_read)
        Averages over `N_SHOWINGS` showings of each scene, for the voxels that `decoding.read` reads. Each
        voxel is z-scored by all trials of the session, as in `nsd.synthetic_responses`.
    """
    jobs.check_simulated(study, "How a brain would respond to an image that it never saw")
    if study.preset.space != "fsaverage":
        raise ValueError(
            f"Responses to edited scenes are simulated on the surface. Expected a preset with the space "
            f"'fsaverage', got {study.preset.space!r}."
        )
    edits = choose(study) if edits is None else edits
    described = {"data": study.identity, "sessions": study.preset.sessions, "edits": _described(edits)}
    shelf = study.shelf("edited-responses", [_respond], described)
    return shelf.get((subject,), lambda: {"betas": _respond(study, subject, edits)})["betas"]


def _respond(study, subject, edits):
    """Simulate the session of edited scenes, and average over showings."""
    simulated, n_sessions = simulated_subject(study.root, subject)
    seen, drawn = seen_in_the_study(study.root, subject)
    # The signal has mean 0 and variance 1 over the images that are passed together. In the tree, these are
    # all ordinary images of a subject and the held-back ones. Here the edited scenes are added. Because
    # they are a seventh of all images and resemble ordinary ones, the scale moves slightly: deviations of the
    # tuned terms change by 3 % at most. This concerns edited and unchanged scenes alike. With another number
    # of images, the specific term of every image is drawn again, and so differs from that of the base.
    pixels = np.concatenate([seen, images(study, edits)])
    signal = simulated.signal(pixels, [*drawn, *(edit.scene for edit in edits)])[len(seen) :]
    rng = np.random.default_rng([SEED, simulated.subject])
    order = np.concatenate([rng.permutation(len(edits)) for _ in range(N_SHOWINGS)])
    # The number of a session determines its noise, and n_sessions + 1 is that of the held-back scenes.
    betas = simulated.respond(signal[order], n_sessions + 2)[:, decoding.read(study, subject).voxels]
    return nsd.average_repeats(nsd.zscore(betas, None, np.ones(len(order), bool)), order)[0]


def simulated_subject(root, subject):
    """Return the `mini.cortex.Cortex` that made a subject's responses, and its number of ordinary sessions.

    Raises
    ------
    ValueError
        If the installed version simulates another cortex than the one of the tree.
    """
    facts = json.loads((root / "simulation/provenance.json").read_text())
    number = int(subject.removeprefix("subj")) - 1
    simulated = cortex.Cortex(number, facts["world"], facts["seed"])
    known = pd.read_csv(root / f"simulation/planted_{subject}.csv")
    if not np.allclose(simulated.planted["ncsnr"], known["ncsnr"], atol=1e-6):
        raise ValueError(
            f"The responses in {root} were simulated by another version of the miniature world "
            f"({facts['version']}), which planted another cortex. Build the tree again with this version."
        )
    return simulated, facts["sizes"]["n_sessions"][number]


def seen_in_the_study(root, subject):
    """Return images and scenes of a subject, ordinary ones and then held-back ones.

    They include images that a subject stopped too early to see, because the scale of the simulated responses
    is taken over them as well.

    Returns
    -------
    images : uint8 array (n, h, w, 3)
    drawn : list of mini.scenes.Scene
    """
    design = read_matlab(root / "nsddata/experiments/nsd/nsd_expdesign.mat", ("subjectim",))
    ids = design["subjectim"][int(subject.removeprefix("subj")) - 1] - 1
    held_back = nsd.synthetic_images(root)
    pixels = np.concatenate([nsd.images(root, ids), held_back])
    drawn = planted.read_scenes(root, ids)
    drawn += planted.read_scenes(root, np.arange(len(held_back)), held_back=True)
    return (255 * pixels).round().astype(np.uint8).transpose(0, 2, 3, 1), drawn


def _described(edits):
    """Return edits in a form that JSON can hold."""
    return [dataclasses.asdict(edit) for edit in edits]
