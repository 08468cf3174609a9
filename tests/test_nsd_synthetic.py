"""The further session: other images, other files, no training trials beside them."""

import shutil

import numpy as np
import pytest

from latentcortex import nsd
from latentcortex.nsd import write_measured, write_shown


@pytest.fixture
def tree(tiny_tree, tmp_path):
    """A tree with 6 images of the further session, each shown twice, in another order."""
    root = tmp_path / "nsd"
    shutil.copytree(tiny_tree, root)
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
    order = rng.permutation(np.repeat(np.arange(6), 2))
    pattern = np.ones((1, 3, 4), bool)
    write_shown.write_stimuli(root, images, "nsdsynthetic")
    write_shown.write_design(root, order, pattern)
    betas = rng.normal(3, 2, (12, 324)).astype(np.float32)
    write_measured.write_betas_session(root, "subj01", "nsdsynthetic", betas)
    return root, images, order, betas


def test_responses_are_scaled_within_the_session_and_averaged(tree):
    root, _, order, betas = tree
    mask = np.arange(324) % 3 == 0
    found, ids, n_repeats = nsd.synthetic_responses(root, "subj01", mask=mask)
    np.testing.assert_array_equal(ids, np.arange(6))
    np.testing.assert_array_equal(n_repeats, 2)
    z = (betas - betas.mean(0)) / betas.std(0)
    expected = np.stack([z[order == k].mean(0) for k in range(6)])
    np.testing.assert_allclose(found, expected[:, mask], atol=1e-5)


def test_images_are_read_whole_and_resized(tree):
    root, images, *_ = tree
    found = nsd.synthetic_images(root)
    np.testing.assert_allclose(found, images.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    assert nsd.synthetic_images(root, 8).shape == (6, 3, 8, 8)


def test_what_is_missing_is_named(tree, tiny_tree):
    root, *_ = tree
    with pytest.raises(ValueError, match=r"mask of bool of the shape \(324,\)"):
        nsd.synthetic_responses(root, "subj01", mask=np.ones(7, bool))
    with pytest.raises(FileNotFoundError, match="nsdsynthetic"):
        nsd.synthetic_images(tiny_tree)
    with pytest.raises(FileNotFoundError, match="nsdsyntheticbetas"):
        nsd.synthetic_responses(root, "subj02")
