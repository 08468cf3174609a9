"""The script of the front page: it says what it needs, and its numbers agree with another route."""

import numpy as np
import pytest

from data_scripts import ch00_open_the_book as ch00
from latentcortex import nsd
from latentcortex.studies import results


def test_without_the_pictures_of_other_chapters_it_says_what_to_run(study, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folders", lambda: [tmp_path])
    with pytest.raises(ValueError, match="Run 'latentcortex run ch06_reconstruct_images' first"):
        ch00.pictured_ids(study)


def test_the_share_that_repeats_follows_from_the_ncsnr(study):
    subject = study.subjects[0]
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space, subject)
    squared = nsd.ncsnr(study.root, subject, study.preset.space)[visual].astype(float) ** 2
    found = ch00.share_that_repeats(study, subject)
    assert found["one_showing"] == pytest.approx((squared / (squared + 1)).mean(), rel=1e-5)
    # Some test pictures were shown more often than once, none more than three times.
    assert found["one_showing"] < found["test_pictures"] <= (squared / (squared + 1 / 3)).mean() * (1 + 1e-5)


def test_a_larger_penalty_fits_its_own_images_less(study):
    r2 = ch00.penalty_curves(study, study.subjects[0])["penalty_r2"]
    assert r2.shape == (len(ch00.ALPHAS), 2)
    assert (np.diff(r2[:, 0]) <= 1e-6).all()
    assert (r2[:, 1] < r2[:, 0] + 1e-6)[:8].all(), "with little penalty, other images fare worse"


def test_numbers_of_subjects_are_stacked_and_the_rest_is_the_first_subjects(study, monkeypatch):
    monkeypatch.setattr(ch00, "pictured_ids", lambda _: np.array([4, 2]))
    each = ("one_showing", "test_pictures", "penalty_r2")
    parts = {s: {name: np.array(k + 0.5) for name in each} for k, s in enumerate(study.subjects)}
    parts[study.subjects[0]]["film_z"] = np.ones(3)
    arrays, facts = ch00.gather(study, parts.get)[""]
    for name in each:
        assert arrays[name].tolist() == [k + 0.5 for k in range(len(study.subjects))]
    assert arrays["film_z"].tolist() == [1, 1, 1] and arrays["originals_ids"].tolist() == [4, 2]
    assert facts["subjects"] == study.subjects
