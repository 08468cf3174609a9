"""What drawings show of a scene, and which of it came from the brain."""

import dataclasses

import numpy as np
import pytest
import torch

from latentcortex.mini import scenes
from latentcortex.studies import ledger

N, D = 30, 20


def planted(rng, n=N):
    """Scenes, and readings of drawings in which everything is right."""
    drawn = scenes.sample_scenes(n, rng)
    shape = (n, D, len(scenes.KINDS))
    reading = {name: np.zeros(shape[:2], np.uint8) for name in ("setting", "time")}
    reading |= {name: np.zeros(shape, np.uint8) for name in ("kinds", "colours", "places")}
    for k, scene in enumerate(drawn):
        reading["setting"][k] = scenes.SETTINGS.index(scene.setting)
        reading["time"][k] = scenes.TIMES.index(scene.time)
        for thing in scene.things:
            kind = scenes.KINDS.index(thing.kind)
            reading["kinds"][k, :, kind] = 1
            reading["colours"][k, :, kind] = list(scenes.COLOURS).index(thing.colour)
            reading["places"][k, :, kind] = scenes.PLACES.index(thing.place)
    return drawn, reading


def test_what_the_brain_brings_is_found_and_what_it_does_not_is_not(rng):
    drawn, reading = planted(rng)
    found = ledger.tally(reading, ledger.truth(drawn))
    assert set(found.table["attribute"]) == set(ledger.ATTRIBUTES)
    assert (found.own == 1).all() and (found.other < 0.8).all()
    # Every scene is drawn as another one is: nothing came from its own responses.
    others = {name: np.roll(values, 1, axis=0) for name, values in reading.items()}
    shuffled = ledger.tally(others, ledger.truth(drawn))
    assert abs((shuffled.own - shuffled.other).mean()) < 0.1
    same = {name: np.broadcast_to(of[:1], of.shape) for name, of in reading.items()}  # whatever is shown
    constant = ledger.tally(same, ledger.truth(drawn))
    np.testing.assert_array_equal(constant.own, constant.other)
    assert (constant.p == 1).all()


def test_shares_and_chances_are_those_of_a_count_by_hand(rng):
    drawn, reading = planted(rng)
    reading["kinds"] = (rng.random(reading["kinds"].shape) < 0.3).astype(np.uint8)
    found = ledger.tally(reading, ledger.truth(drawn))
    for row in np.flatnonzero(found.table["attribute"] == "colour")[:8]:
        scene, _, kind, value, _ = found.table.loc[row]
        right = (reading["kinds"][:, :, kind] == 1) & (reading["colours"][:, :, kind] == value)
        shares = right.mean(1)
        assert found.own[row] == pytest.approx(shares[scene])
        assert found.other[row] == pytest.approx(np.delete(shares, scene).mean())
        without = [
            k
            for k, of in enumerate(drawn)
            if (scenes.KINDS[kind], list(scenes.COLOURS)[value])
            not in {(t.kind, t.colour) for t in of.things}
        ]
        p = (1 + (shares[without] >= shares[scene]).sum()) / (1 + len(without))
        assert found.p[row] == pytest.approx(p)


def test_chances_hold_where_the_brain_brings_nothing(rng):
    """Of attributes that drawings show at random, at most one in twenty is taken for decoded."""
    p = []
    for _ in range(20):
        drawn, reading = planted(rng, 60)
        reading["kinds"] = (rng.random(reading["kinds"].shape) < rng.random((60, 1, 10))).astype(np.uint8)
        found = ledger.tally(reading, ledger.truth(drawn))
        p.append(found.p[found.table["attribute"] == "kind"])
    p = np.concatenate(p)
    assert (p <= ledger.LEVEL).mean() < 0.06 and (p <= 0.2).mean() < 0.22
    assert 0.4 < (p <= 0.5).mean() < 0.53  # ties make it a little less than a half


def test_drawings_without_a_brain_are_counted_alike(rng):
    drawn, reading = planted(rng)
    table = ledger.truth(drawn)
    shares = ledger.without_brain({name: of[:, 0] for name, of in reading.items()}, table)
    setting = table["attribute"] == "setting"
    expected = [np.mean([s.setting == row.text for s in drawn]) for row in table[setting].itertuples()]
    np.testing.assert_allclose(shares[setting], expected)


def test_marks_say_where_each_thing_of_a_drawing_came_from(rng):
    drawn, reading = planted(rng)
    scene = next(k for k, of in enumerate(drawn) if len(of.things) == 2)
    known = ledger.tally(reading, ledger.truth(drawn))
    one = {name: of[scene, 0].copy() for name, of in reading.items()}
    absent, present = (scenes.KINDS.index(thing.kind) for thing in drawn[scene].things)
    one["kinds"][absent] = 0
    new = next(k for k in range(10) if k not in (absent, present))
    one["kinds"][new], one["places"][new], one["setting"] = 1, 2, len(scenes.SETTINGS)
    found = ledger.marks(one, known, scene)
    setting = found[found["what"] == "setting"].iloc[0]
    assert (setting["shown"], setting["mark"]) == ("can't tell", "invented")
    things = found[found["what"] == "thing"]
    of_kind = {(row.shown or row.true): row for row in things.itertuples()}
    assert of_kind[scenes.KINDS[absent]].mark == "missing"
    assert of_kind[scenes.KINDS[present]].mark == "decoded"
    assert (of_kind[scenes.KINDS[new]].mark, of_kind[scenes.KINDS[new]].place) == ("invented", 2)
    unsure = known._replace(p=np.ones_like(known.p))
    found = ledger.marks(one, unsure, scene)
    assert set(found.loc[found["shown"] == scenes.KINDS[present], "mark"]) == {"guessed"}


@pytest.mark.parametrize("attribute", ["setting", "time", "kind", "colour", "place"])
def test_statements_are_as_true_as_drawings_that_show_the_scene(rng, attribute):
    drawn, reading = planted(rng)
    counts, is_true = ledger.statements(reading, drawn, attribute)
    np.testing.assert_array_equal(counts, D * is_true)
    n_things = sum(len(scene.things) for scene in drawn)
    assert is_true.sum() == (N if attribute in ("setting", "time") else n_things)


def test_both_judges_read_rendered_scenes(rng):
    drawn = scenes.sample_scenes(12, rng)
    images = torch.from_numpy(scenes.render(drawn)).movedim(-1, 1) / 255
    found = ledger.read(images)
    assert set(found) == set(ledger.JUDGES)
    table = ledger.truth(drawn)
    for judge, attributes in ledger.JUDGES.items():
        reading = {name: of[:, None] for name, of in found[judge].items()}
        tallied = ledger.tally(reading, table)
        assert set(tallied.table["attribute"]) == set(attributes)
        assert tallied.own[tallied.table["attribute"] == "setting"].mean() > 0.7
    assert found["judge"]["colours"].shape == (12, len(scenes.KINDS))


def test_drawings_of_other_scenes_are_refused(rng):
    drawn, reading = planted(rng)
    with pytest.raises(ValueError, match="drawings of each of 29 scenes"):
        ledger.tally(reading, ledger.truth(drawn[:-1]))
    one = {name: of[:1] for name, of in reading.items()}
    with pytest.raises(ValueError, match="at least of two"):
        ledger.tally(one, ledger.truth(drawn[:1]))


def test_size_is_no_attribute_because_no_judge_reads_it():
    fields = {field.name for field in dataclasses.fields(scenes.Thing)}
    assert "size" in fields and "size" not in ledger.ATTRIBUTES
