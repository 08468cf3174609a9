"""Pictures in one file: the right one comes back at the right place."""

import numpy as np
import pytest

from latentcortex.studies import mosaics


def test_every_picture_comes_back_at_its_place():
    colours = np.random.default_rng(0).integers(0, 256, (5, 3, 1, 1, 3), dtype=np.uint8)
    pictures = np.broadcast_to(colours, (5, 3, 16, 32, 3))
    file = mosaics.packed(pictures, 90)
    assert file.dtype == np.uint8 and file.ndim == 1 and len(file) < pictures.size / 10
    back = mosaics.unpacked(file, 5, 3)
    assert back.shape == pictures.shape
    # Away from the edges, where WebP mixes colours: far nearer than two random colours are.
    assert np.abs(back[:, :, 4:-4, 4:-4].astype(int) - pictures[:, :, 4:-4, 4:-4]).max() < 12


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((2, 2, 8, 8, 3)), "as uint8 .* got float64"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"of the shape \(2, 8, 8, 3\)"),
        (np.zeros((1, 2049, 8, 8, 3), np.uint8), "16,383 pixels a side"),
    ],
)
def test_what_no_file_can_hold_is_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        mosaics.packed(pictures, 60)


def test_a_file_of_other_pictures_is_refused():
    file = mosaics.packed(np.zeros((2, 3, 8, 8, 3), np.uint8), 60)
    with pytest.raises(ValueError, match="16 x 24 pixels does not hold 3 x 3"):
        mosaics.unpacked(file, 3, 3)
