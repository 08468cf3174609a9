"""What was planted in a simulated tree is read back as it was written."""

import numpy as np
import pytest

from latentcortex.mini import scenes
from latentcortex.studies import planted


@pytest.fixture
def tree(rng, tmp_path):
    """Return a tree with scenes of both kinds of experiment, and these scenes."""
    (tmp_path / "simulation").mkdir()
    drawn = {
        "ground_truth": scenes.sample_scenes(12, rng),
        "ground_truth_held_back": scenes.sample_scenes(7, rng),
    }
    for name, of in drawn.items():
        index = "synthetic_id" if name.endswith("back") else "image_id"
        scenes.ground_truth(of).to_csv(tmp_path / f"simulation/{name}.csv", index_label=index)
    return tmp_path, *drawn.values()


@pytest.mark.parametrize("held_back", [False, True])
def test_scenes_are_read_as_they_were_written(rng, tree, held_back):
    root, drawn = tree[0], tree[1 + held_back]
    ids = rng.permutation(len(drawn))[:5]
    read = planted.read_scenes(root, ids, held_back)
    np.testing.assert_allclose(
        scenes.ground_truth(read).select_dtypes("number"),
        scenes.ground_truth([drawn[k] for k in ids]).select_dtypes("number"),
    )
    assert [one.setting for one in read] == [drawn[k].setting for k in ids]
    assert [[thing.kind for thing in one.things] for one in read] == [
        [thing.kind for thing in drawn[k].things] for k in ids
    ]


def test_planted_variables_are_those_of_the_images_shown(rng, tree, monkeypatch):
    root, drawn, new = tree
    pixels = rng.integers(0, 256, (19, 64, 64, 3), dtype=np.uint8)
    bright = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    monkeypatch.setattr(planted.nsd, "images", lambda _, ids: bright[ids])
    monkeypatch.setattr(planted.nsd, "synthetic_images", lambda _: bright[12:])
    train, test, is_train = np.arange(8), np.array([11, 9]), np.arange(10) < 8
    of_nsd = planted.planted_variables(root, train, test)
    rows, shown = np.append(train, test), [drawn[k] for k in np.append(train, test)]
    expected = planted.planted_features(pixels[rows], shown, is_train)
    of_new = planted.planted_variables(root, train, np.array([4, 2]), "nsdsynthetic")
    rows, shown = np.append(train, [16, 14]), [*drawn[:8], new[4], new[2]]
    expected_new = planted.planted_features(pixels[rows], shown, is_train)
    for name in ("low", "semantic"):
        np.testing.assert_array_equal(of_nsd[name], expected[name])
        np.testing.assert_array_equal(of_new[name], expected_new[name])
        np.testing.assert_array_equal(of_new[name][:8], of_nsd[name][:8])
