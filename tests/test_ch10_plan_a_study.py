"""Script of the plans: chances stand at their places, and the shipped ones behave as chances do."""

import numpy as np
import pytest

from data_scripts import ch10_plan_a_study as script
from latentcortex import store
from latentcortex.studies import power, results
from latentcortex.studies.virtual_studies import REPEATS, TRIALS


def test_chances_stand_at_the_place_of_their_design(monkeypatch):
    """Only one design, one level and one finding have an effect; all others are far from being found."""
    monkeypatch.setattr(script, "SETS", range(16))
    at, shape = (3, 1), (len(TRIALS), len(REPEATS))

    def load(_number):
        estimates = np.zeros((*shape, 8, 4, 4)) + np.linspace(-1, 1, 8)[:, None, None]
        intervals = np.zeros((*shape, 2, 4, 4, 2)) + [-1, 1]
        estimates[(*at, slice(None), 2, 1)] = 5 + 0.001 * np.arange(8)
        intervals[(*at, slice(None), 2, 1)] = [4, 6]
        intervals[:3, :, :, :, 3] = [1, 2]  # false alarms of one subject in three of five numbers of trials
        return {"estimates": estimates, "intervals": intervals, "ncsnr": np.array([[0.0, 0.2, 0.4]] * 8)}

    arrays, facts = script.gather(None, load)[""]
    right = arrays["right"]
    assert right.shape == (4, len(TRIALS), 3, 4, 4)
    assert (right[:, 3, 1, 2, 1] == 1).all() and arrays["estimate"][0, 3, 1, 2, 1] == 5
    right[:, 3, 1, 2, 1] = 0
    assert right[..., :-1].max() == 0 and right[1:].max() == 0
    np.testing.assert_allclose(arrays["alarms"], [0.6, 0, 0, 0], atol=1e-3)
    assert (arrays["alarms_se"] == 0).all()
    assert facts["n_sets"] == 16 and facts["planted_median"] == pytest.approx(0.3)


@pytest.fixture(scope="module")
def shipped():
    (path,) = results.shipped_folder("results").glob("ch10_plan_a_study-*.npz")
    assert path.stat().st_size < 60_000
    return {name: of.astype(float) for name, of in store.load(path).items()}, store.provenance(path)


def test_more_trials_and_more_signal_are_never_worse_on_average(shipped):
    arrays, facts = shipped
    several = slice(1, None)  # subjects: with one, intervals are of another kind
    large = arrays["right"][several, ..., facts["findings"].index("early minus ventral")]
    for axis in (1, 3):  # trials, signal to noise
        means = large.mean(tuple({0, 1, 2, 3} - {axis}))
        assert (np.diff(means) > -0.02).all() and means[-1] > means[0] + 0.05
    small = arrays["right"][several, ..., facts["findings"].index("V1 minus V2")]
    assert small[:, -1].mean() > small[:, 0].mean() + 0.05
    assert small.mean() < large.mean() - 0.3


def test_eight_subjects_with_two_sessions_find_the_large_difference(shipped):
    arrays, facts = shipped
    at = (facts["subjects"].index(8), facts["trials"].index(1500), slice(None), facts["signal"].index(1.0), 0)
    assert arrays["right"][at].min() > 0.95
    assert arrays["estimate"][at].min() > 0.2 and arrays["estimate"][at].max() < 0.32  # chapter 10: 0.26


def test_false_alarms_over_subjects_are_as_frequent_as_promised_and_those_of_one_brain_are_not(shipped):
    arrays, _ = shipped
    # Of all designs together: no single one has enough studies.
    alarms, errors = arrays["alarms"], arrays["alarms_se"]
    assert (np.abs(alarms[1:] - 0.05) < 3 * errors[1:] + 0.005).all()
    assert alarms[0] > alarms[1:].max() and alarms[0] > 0.05 + 2 * errors[0]


def test_small_findings_are_exaggerated_and_large_ones_are_not(shipped):
    arrays, facts = shipped
    four = arrays["exaggeration"][facts["subjects"].index(4)]
    assert np.nanmedian(four[..., facts["findings"].index("V1 minus V2")]) > 1.2
    assert np.nanmedian(four[1:, ..., facts["findings"].index("early minus ventral")]) < 1.1


def test_intervals_of_chances_hold_them(shipped):
    arrays, facts = shipped
    low, high = power.chance_interval(arrays["right"], arrays["right_se"], facts["n_sets"])
    assert (low <= arrays["right"] + 1e-9).all() and (arrays["right"] <= high + 1e-9).all()
