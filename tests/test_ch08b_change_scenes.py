"""Script of causal pairs: a decoder that draws what was shown is right, and one that draws anything fails."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch08b_change_scenes as script
from latentcortex import store
from latentcortex.mini import scenes
from latentcortex.studies import drawings, edited_scenes, weighing

pytestmark = pytest.mark.usefixtures("one_thread")
N = 9
WEIGHING = weighing.Weighing(c_region="all", trust=3.0)


@pytest.fixture
def pairs(study, tmp_path, monkeypatch):
    """Nine pairs of scenes, whose responses are numbers of pictures; returns the pictures and draws."""
    world = tmp_path / "simulation"
    world.mkdir()
    drawn = scenes.sample_scenes(40, np.random.default_rng(5))
    scenes.ground_truth(drawn).to_csv(world / "ground_truth.csv", index_label="image_id")
    known = SimpleNamespace(preset=study.preset, root=tmp_path, image_ids=np.arange(40))
    edits = edited_scenes.choose(known, n_scenes=N)
    images = scenes.render([one.scene for one in edits])
    asked, real = [], script.weighing.draw

    def draw(*given, **changes):
        inspect.signature(real).bind(*given, **changes)
        _study, subject, weighed, betas, image_ids, repeat = given
        asked.append((subject, weighed, image_ids.tolist(), repeat, changes))
        return drawings.from_bytes(images[betas[:, 0]])

    monkeypatch.setattr(edited_scenes, "choose", lambda _: edits)
    monkeypatch.setattr(edited_scenes, "images", lambda *_: images)
    monkeypatch.setattr(edited_scenes, "responses", lambda *_: np.arange(2 * N)[:, None])
    # The base has the pictures of the unchanged scenes.
    ids = np.array([one.image_id for one in edits[:N]])
    rows = {image_id: N + k for k, image_id in enumerate(ids.tolist())}
    monkeypatch.setattr(
        script.weighing, "responses_to", lambda *given: np.array([[rows[i]] for i in given[2].tolist()])
    )
    monkeypatch.setattr(script.weighed_setting, "setting_of", lambda _: (WEIGHING, 0.75))
    monkeypatch.setattr(script.weighing, "draw", draw)
    monkeypatch.setattr(script, "N_REPEATS", 2)
    return edits, asked


def run(study, n_scenes):
    job = script.make_job(study, SimpleNamespace(scenes=n_scenes, subjects=1))
    assert job.is_slice and len(job.parts) == 2
    left, failed = job.run()
    assert (left, failed) == (0, [])
    return job


def test_the_whole_script_finds_what_was_drawn_and_writes_little(study, pairs, tmp_path, monkeypatch):
    edits, asked = pairs
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    job = run(study, N)
    ids = [one.image_id for one in edits[:N]]
    for k, (subject, weighed, image_ids, repeat, changes) in enumerate(asked):
        # Base, edited and unchanged scenes have the noise of the base.
        assert (subject, weighed, image_ids, repeat) == ("subj01", WEIGHING, ids, k // 3)
        assert changes == {"strength": 0.75}
    assert len(asked) == 6
    (path,) = job.write(tmp_path / "results")
    arrays, facts = store.load(path), store.provenance(path)
    assert path.stat().st_size < 150_000 and "slice" in path.name
    assert arrays["change"].shape == (1, N, 2, 4) and arrays["local"].shape == (1, N, 2, 3)
    assert facts["edits"] == [*edited_scenes.EDITS] * 3
    # A perfect decoder: all targets change, most by much, and nothing does in unchanged pairs.
    np.testing.assert_allclose(arrays["change"][:, :, 1, :3], 0, atol=1e-3)
    assert (arrays["change"][0, :, 0, 0] > 0).all() and np.median(arrays["change"][0, :, 0, 0]) > 0.5
    assert arrays["local"][0, :, 0, 2].min() > 0.9 and (arrays["local"][0, :, 1, 2] == 0.5).all()
    assert np.nanmax(arrays["change"][0, :, 0, 1:3]) < 0.5  # the judge still sees the setting and the time
    of = {tuple(name): row for name, row in zip(facts["measures"], arrays["intervals"], strict=True)}
    assert of["detected", "removed"][0] == 1 and of["auc", "moved"][0] > 0.9


def test_a_trial_of_four_scenes_works_to_its_end(study, pairs, tmp_path, monkeypatch):
    edits, asked = pairs
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    job = run(study, 4)
    assert {tuple(of[2]) for of in asked} == {tuple(one.image_id for one in edits[:4])}
    gathered, _ = job.gather(study, lambda *part: store.load(job.shelf.path(part)))[""]
    assert gathered["change"].shape == (1, 4, 2, 4) and gathered["n_changed_cells"].min() > 0
