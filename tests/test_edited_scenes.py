"""Edited scenes: one thing differs and nothing else, and simulated subjects answer as in the study."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from latentcortex import presets
from latentcortex.mini import cortex, scenes
from latentcortex.nsd import write_shown
from latentcortex.studies import decoding, edited_scenes, open_study
from latentcortex.studies.study import Study

pytestmark = pytest.mark.usefixtures("one_thread")
N_VERTICES, N_HELD_BACK = 324, 5


def write_truth(root, drawn, held_back=()):
    folder = root / "simulation"
    folder.mkdir()
    for name, of, index in (
        ("ground_truth", drawn, "image_id"),
        ("ground_truth_held_back", held_back, "synthetic_id"),
    ):
        scenes.ground_truth(of).to_csv(folder / f"{name}.csv", index_label=index)


@pytest.fixture
def of_scenes(tmp_path):
    """Return what `choose` reads of a study, with 90 test scenes that have odd ids."""
    drawn = scenes.sample_scenes(180, np.random.default_rng(3))
    write_truth(tmp_path, drawn)
    preset = SimpleNamespace(data="mini", name="mini")
    return SimpleNamespace(preset=preset, root=tmp_path, image_ids=np.arange(1, 180, 2)), drawn


def test_one_thing_is_edited_and_nothing_else(of_scenes):
    study, drawn = of_scenes
    edits = edited_scenes.choose(study)
    edited, unchanged = edits[:90], edits[90:]
    assert {
        one.thing for one, same in zip(edited, unchanged, strict=True) if len(same.scene.things) == 2
    } == {0, 1}
    assert [one.image_id for one in edited] == [one.image_id for one in unchanged]
    assert sorted(one.image_id for one in edited) == study.image_ids.tolist()
    for one, same in zip(edited, unchanged, strict=True):
        base = same.scene
        assert (same.kind, same.thing) == ("unchanged", None) and base.things == drawn[one.image_id].things
        assert dataclasses.replace(one.scene, things=base.things) == base
        thing, others = base.things[one.thing], [t for k, t in enumerate(base.things) if k != one.thing]
        kept = [t for t in one.scene.things if t in others]
        assert kept == others
        if one.kind == "removed":
            assert len(base.things) == 2 and len(one.scene.things) == 1
            continue
        (new,) = (t for t in one.scene.things if t not in others)
        if one.kind == "moved":
            assert dataclasses.replace(new, x=thing.x) == thing and new.place != thing.place and not others
            assert abs(new.x - thing.x) >= 0.5 and abs(new.x) <= 1.1
        else:
            assert dataclasses.replace(new, colour=thing.colour) == thing and new.colour != thing.colour
        assert not scenes.is_held_back(new.kind, new.colour, base.setting)


def test_kinds_of_edit_take_turns_and_chance_is_an_argument(of_scenes):
    study, _ = of_scenes
    first = edited_scenes.choose(study, n_scenes=9)
    assert [one.kind for one in first[:9]] == [*edited_scenes.EDITS] * 3
    # The others of fewer scenes are the first of more: a trial draws what the whole does.
    assert first[:9] == edited_scenes.choose(study)[:9] and len(first) == 18
    other = edited_scenes.choose(study, np.random.default_rng(8), n_scenes=9)
    assert [one.image_id for one in other] != [one.image_id for one in first]
    # Only scenes of two things: nothing can be moved, and the next kind takes the turn.
    twos = [i for i, of in enumerate(of_scenes[1]) if len(of.things) == 2][:4]
    study.image_ids = np.array(twos)
    kinds = [one.kind for one in edited_scenes.choose(study)[:4]]
    assert kinds == ["removed", "recoloured", "recoloured", "removed"]


def test_questions_name_what_was_edited_and_what_was_not(of_scenes):
    edits = edited_scenes.choose(of_scenes[0], n_scenes=30)
    asked = edited_scenes.questions(edits)
    assert asked["image_id"].tolist() == [one.image_id for one in edits[:30]]
    for pair, after, base in zip(asked.itertuples(), edits[:30], edits[30:], strict=True):
        thing = base.scene.things[after.thing]
        assert pair.edit == after.kind and scenes.KINDS[pair.kind] == thing.kind
        assert scenes.SETTINGS[pair.setting] == base.scene.setting
        assert scenes.TIMES[pair.time] == base.scene.time
        others = {of.kind for of in base.scene.things} - {thing.kind}
        assert others == ({scenes.KINDS[pair.other]} if pair.other >= 0 else set())
        if pair.edit == "removed":
            assert (pair.old, pair.new) == (-1, -1)
            continue
        new = after.scene.things[after.thing]
        names, field = {
            "moved": (scenes.PLACES, "place"),
            "recoloured": (list(edited_scenes.COLOURS), "colour"),
        }[pair.edit]
        assert (names[pair.old], names[pair.new]) == (getattr(thing, field), getattr(new, field))


def test_the_mask_is_where_the_thing_was(of_scenes):
    edits = edited_scenes.choose(of_scenes[0], n_scenes=3)
    images = scenes.render([one.scene for one in edits])
    mask = edited_scenes.where_changed(images[3:], images[:3])
    assert not edited_scenes.where_changed(images, images).any()
    redder = images.copy()
    redder[0, 3, 5, 0] ^= 1
    assert np.argwhere(edited_scenes.where_changed(images, redder)).tolist() == [[0, 3, 5]]
    for of, after, base in zip(mask, edits[:3], edits[3:], strict=True):
        x, y, _ = scenes.image_position(base.scene, base.scene.things[after.thing])
        row, column = (np.array([1 - y, 1 + x]) * 32).astype(int).clip(1, 62)
        assert of[row - 1 : row + 2, column - 1 : column + 2].any() and of.mean() < 0.6
    with pytest.raises(ValueError, match=r"images \(n, h, w, 3\) of one shape"):
        edited_scenes.where_changed(images[:2], images)
    with pytest.raises(ValueError, match=r"images \(n, h, w, 3\) of one shape"):
        edited_scenes.where_changed(images[..., 0], images[..., 0])


# --- responses ------------------------------------------------------------------------------------


def picture_of(drawn, size=64):
    """Cheap pictures in which every scene has a colour of its own in each quarter."""
    found = []
    for scene in drawn:
        seed = [scene.structure, *(int(1e6 * abs(t.x)) + len(t.colour) for t in scene.things)]
        quarters = np.random.default_rng(seed).integers(1, 256, (2, 2, 3))
        found.append(quarters.repeat(size // 2, 0).repeat(size // 2, 1))
    return np.array(found, np.uint8)


class FakeCortex:
    """Each vertex answers without noise: to mean colours by weights of its own, and to the image itself."""

    calls = []  # (what was asked, arguments)

    def __init__(self, subject, world, seed):
        self.subject, self.rng = subject, np.random.default_rng([seed, subject])
        self.planted = pd.DataFrame({"ncsnr": np.linspace(0, 1, N_VERTICES)})
        self.weights = self.rng.normal(size=(12, N_VERTICES))
        self.calls.append(("made", (subject, world, seed)))

    def signal(self, images, drawn):
        self.calls.append(("signal", (images, drawn)))
        tuned = images[:, ::32, ::32].reshape(len(images), 12) / 255 @ self.weights
        specific = np.random.default_rng(self.subject).normal(size=tuned.shape)
        return (tuned - tuned.mean(0)) / tuned.std(0) + specific

    def respond(self, signal, session):
        self.calls.append(("session", session))
        return (100 * session + 3 * signal).astype(np.float32)


@pytest.fixture
def simulated(tiny_tree, tiny_truth, tmp_path, monkeypatch):
    """Return a study of a tiny simulated tree, and its scenes."""
    root, rng = tmp_path / "nsd", np.random.default_rng(6)
    shutil.copytree(tiny_tree, root)
    drawn = scenes.sample_scenes(len(tiny_truth.images), rng)
    held_back = scenes.sample_scenes(N_HELD_BACK, rng, held_back=True)
    write_truth(root, drawn, held_back)
    write_shown.write_stimuli(root, picture_of(drawn))
    write_shown.write_stimuli(root, picture_of(held_back), "nsdsynthetic")
    facts = {"name": "tiny", "world": "swapped", "seed": 7, "version": "0.1"}
    facts["sizes"] = {"n_sessions": [3, 2]}
    (root / "simulation/provenance.json").write_text(json.dumps(facts))
    FakeCortex.calls.clear()
    for k in (0, 1):
        table = FakeCortex(k, "swapped", 7).planted
        table.to_csv(root / f"simulation/planted_subj{k + 1:02d}.csv", index_label="vertex")
    FakeCortex.calls.clear()
    monkeypatch.setattr(cortex, "Cortex", FakeCortex)
    monkeypatch.setattr(scenes, "render", picture_of)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    preset = dataclasses.replace(presets.get("mini"), subjects=(1, 2))
    return open_study(preset, root), drawn, held_back


def test_a_further_session_shows_all_edits_at_the_scale_of_all_images(simulated, tiny_truth, monkeypatch):
    study, drawn, held_back = simulated
    edits = edited_scenes.choose(study)
    assert len(edits) == 16
    found = edited_scenes.responses(study, "subj02")
    asked = dict(FakeCortex.calls)
    assert asked["made"] == (1, "swapped", 7)
    assert asked["session"] == 4  # two of its own, then that of held-back scenes
    images, shown = asked["signal"]
    own = [drawn[i] for i in tiny_truth.subjectim[1]]  # some of them the subject stopped too early to see
    expected = [*own, *held_back, *(one.scene for one in edits)]
    assert [s.structure for s in shown] == [s.structure for s in expected]
    np.testing.assert_array_equal(images, picture_of(expected))
    # Without noise averages of three are the single responses, scaled over the session.
    signal = FakeCortex(1, "swapped", 7).signal(images, shown)[-16:]
    voxels = decoding.read(study, "subj02").voxels
    np.testing.assert_allclose(found, ((signal - signal.mean(0)) / signal.std(0))[:, voxels], atol=1e-4)
    assert found.dtype == np.float32
    # An unchanged scene is another image: what is specific to it is another.
    assert np.abs(found[:8] - found[8:]).max() > 0.5
    monkeypatch.setattr(cortex, "Cortex", None)  # nothing is simulated again
    np.testing.assert_array_equal(edited_scenes.responses(study, "subj02", edits), found)


def test_data_that_cannot_be_simulated_again_are_refused(simulated):
    study = simulated[0]
    real = Study(dataclasses.replace(study.preset, data="nsd", name="mine"), study.root)
    for call in (edited_scenes.choose, lambda of: edited_scenes.responses(of, "subj01", [])):
        with pytest.raises(ValueError, match="known of simulated worlds alone"):
            call(real)
    volume = Study(dataclasses.replace(study.preset, space="func1pt8mm"), study.root)
    with pytest.raises(ValueError, match="Expected a preset with the space 'fsaverage', got 'func1pt8mm'"):
        edited_scenes.responses(volume, "subj01", [])
    path = study.root / "simulation/planted_subj01.csv"
    (pd.read_csv(path, index_col=0) * 1.1).to_csv(path)
    with pytest.raises(ValueError, match="another version of the miniature world"):
        edited_scenes.responses(study, "subj01")


def test_tuning_knows_no_difference_between_a_scene_and_its_unchanged_twin(of_scenes):
    """What is specific to an image differs, and what a vertex is tuned to does not."""
    edits = edited_scenes.choose(of_scenes[0], n_scenes=3)
    base, after = [one.scene for one in edits[3:]], [one.scene for one in edits[:3]]
    shown = [*base, *after, *base]
    images, subject = scenes.render(shown, size=32), cortex.Cortex(0)
    for of in subject.tuned_signals(images, shown):
        np.testing.assert_array_equal(of[6:], of[:3])
        assert (np.abs(of[3:6] - of[:3]).max(axis=1) > 0.1).all()
    signal = subject.signal(images, shown)
    assert (np.abs(signal[6:] - signal[:3]).max(axis=1) > 0.1).all()
