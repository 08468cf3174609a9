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
    assert (found.own == 1).all() and np.nanmean(found.other) < 0.4
    # Every scene is drawn as another one is: nothing came from its own responses.
    others = {name: np.roll(values, 1, axis=0) for name, values in reading.items()}
    shuffled = ledger.tally(others, ledger.truth(drawn))
    assert abs(np.nanmean(shuffled.own - shuffled.other)) < 0.1
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
        of_kind = [{thing.colour for thing in of.things if thing.kind == scenes.KINDS[kind]} for of in drawn]
        same = [k for k, colours in enumerate(of_kind) if colours and k != scene]
        expected = shares[same].mean() if same else np.nan
        assert found.other[row] == pytest.approx(expected, nan_ok=True)
        without = [k for k in same if list(scenes.COLOURS)[value] not in of_kind[k]]
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


def test_colours_and_places_of_things_that_are_named_are_not_credited_to_the_brain_with_them(rng):
    """Kinds are decoded perfectly, colours and places not at all."""
    brought, p = [], []
    for _ in range(5):
        drawn, reading = planted(rng, 200)
        for name, n in (("colours", len(scenes.COLOURS)), ("places", len(scenes.PLACES))):
            reading[name] = rng.integers(0, n, reading[name].shape).astype(np.uint8)
        found = ledger.tally(reading, ledger.truth(drawn))
        of_thing = found.table["attribute"].isin(["colour", "place"]).to_numpy()
        brought.append(np.nanmean((found.own - found.other)[of_thing]))
        p.append(found.p[of_thing])
    assert abs(np.mean(brought)) < 0.03 and (np.concatenate(p) <= ledger.LEVEL).mean() < 0.06
    kinds = (found.table["attribute"] == "kind").to_numpy()
    assert (found.own - found.other)[kinds].mean() > 0.7


def test_a_thing_that_no_other_scene_has_can_not_be_compared(rng):
    drawn, reading = planted(rng)
    kind = drawn[0].things[0].kind
    keep = [k for k, of in enumerate(drawn) if not k or kind not in {thing.kind for thing in of.things}]
    found = ledger.tally({k: of[keep] for k, of in reading.items()}, ledger.truth([drawn[k] for k in keep]))
    alone = (found.table["kind"] == scenes.KINDS.index(kind)) & found.table["attribute"].isin(
        ["colour", "place"]
    )
    assert alone.sum() == 2 and np.isnan(found.other[alone]).all() and (found.p[alone] == 1).all()


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
    one["kinds"][absent], one["places"][absent] = 0, 2  # where it is not drawn, its place means nothing
    one["places"][present] = 0  # it stands on the right in the scene
    new = next(k for k in range(10) if k not in (absent, present))
    one["kinds"][new], one["places"][new], one["setting"] = 1, 2, len(scenes.SETTINGS)
    found = ledger.marks(one, known, scene)
    setting = found[found["what"] == "setting"].iloc[0]
    assert (setting["shown"], setting["mark"]) == ("", "missing")
    time = found[found["what"] == "time"].iloc[0]
    assert time["shown"] == time["true"] == drawn[scene].time
    things = found[found["what"] == "thing"]
    of_kind = {(row.shown or row.true): row for row in things.itertuples()}
    missing, there = of_kind[scenes.KINDS[absent]], of_kind[scenes.KINDS[present]]
    assert (missing.mark, missing.place) == ("missing", scenes.PLACES.index(drawn[scene].things[0].place))
    assert (there.mark, there.place) == ("decoded", 0)
    at_level = ledger.marks(one, known._replace(p=np.full_like(known.p, ledger.LEVEL)), scene)
    assert set(at_level.loc[at_level["shown"] == scenes.KINDS[present], "mark"]) == {"decoded"}
    with pytest.raises(ValueError, match="no scene 999"):
        ledger.marks(one, known, 999)
    assert (of_kind[scenes.KINDS[new]].mark, of_kind[scenes.KINDS[new]].place) == ("invented", 2)
    unsure = known._replace(p=np.ones_like(known.p))
    found = ledger.marks(one, unsure, scene)
    assert set(found.loc[found["shown"] == scenes.KINDS[present], "mark"]) == {"guessed"}


@pytest.mark.parametrize("attribute", ["setting", "time", "kind", "colour", "place", "thing"])
def test_statements_are_as_true_as_drawings_that_show_the_scene(rng, attribute):
    drawn, reading = planted(rng)
    counts, is_true = ledger.statements(reading, drawn, attribute)
    np.testing.assert_array_equal(counts, D * is_true)
    n_things = sum(len(scene.things) for scene in drawn)
    assert is_true.sum() == (N if attribute in ("setting", "time") else n_things)


def test_a_thing_is_shown_where_kind_colour_and_place_are_right_together(rng):
    drawn, reading = planted(rng)
    thing = drawn[0].things[0]
    kind = scenes.KINDS.index(thing.kind)
    colour, place = list(scenes.COLOURS).index(thing.colour), scenes.PLACES.index(thing.place)
    value = colour * len(scenes.PLACES) + place
    assert ledger.shows(reading, "thing", kind, value)[0].all()
    reading["places"][0, 0, kind] = (place + 1) % len(scenes.PLACES)  # in one drawing, at another place
    reading["colours"][0, 1, kind] = (colour + 1) % len(scenes.COLOURS)
    assert ledger.shows(reading, "thing", kind, value)[0].tolist() == [False, False] + [True] * (D - 2)


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
        assert ledger.without_brain(found[judge], table).shape == (len(tallied.table),)
    reading = {name: of[:, None] for name, of in found["judge"].items()}
    tallied = ledger.tally(reading, table)
    for attribute, least in {"kind": 0.7, "colour": 0.5, "place": 0.5}.items():
        assert tallied.own[tallied.table["attribute"] == attribute].mean() > least, attribute
    assert found["judge"]["colours"].shape == (12, len(scenes.KINDS))


def test_a_kind_is_named_from_even_odds_on(monkeypatch):
    def judge(images):
        n = len(images)
        answers = {"setting": torch.zeros(n, 7), "time": torch.zeros(n, 4)}
        return answers | {"kind": torch.tensor([[0.1, -0.1] * 5] * n)}

    monkeypatch.setattr(ledger, "_judges", lambda: {"judge": judge})
    assert ledger.read(torch.zeros(1, 3, 64, 64))["judge"]["kinds"].tolist() == [[1, 0] * 5]


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


def test_bad_statements_are_refused_by_name(rng):
    drawn, reading = planted(rng)
    for scenes_of, attribute, message in (
        (drawn[:-1], "kind", f"scenes of {N} drawn images.*got {N - 1}"),
        ([], "kind", "at least one, got 0"),
        (drawn, "count", "about setting, time, kind, colour, place, thing, .*got 'count'"),
    ):
        with pytest.raises(ValueError, match=message):
            ledger.statements(reading, scenes_of, attribute)
    without_colours = {name: of for name, of in reading.items() if name != "colours"}
    with pytest.raises(ValueError, match="time, kind, place, which the judge reads, got 'thing'"):
        ledger.statements(without_colours, drawn, "thing")
    for value in (-1, len(scenes.COLOURS) * len(scenes.PLACES)):
        with pytest.raises(ValueError, match=f"from 0 to 17, got {value}"):
            ledger.shows(reading, "thing", 0, value)
