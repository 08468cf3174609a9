"""Script of the plans: chances stand at their places, and the shipped ones behave as chances do."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch10_plan_a_study as script
from latentcortex import store
from latentcortex.studies import power, results, virtual_subjects


def test_chances_stand_at_the_place_of_their_design(monkeypatch):
    """Only one design, one level and one finding have an effect; all others are far from being found."""
    monkeypatch.setattr(script, "BLOCKS", range(2))
    monkeypatch.setattr(
        virtual_subjects, "bodies", lambda _: [SimpleNamespace(ncsnr=np.array([0.0, 0.2, 0.4]))]
    )
    chosen, wide = (script.TRIALS[3], 2), np.array([-1.0, 1.0])

    def load(n_trials, n_repeats, _block):
        estimates = np.zeros((script.N_IN_BLOCK, 8, 4, 4)) + np.linspace(-1, 1, 8)[:, None, None]
        intervals = np.zeros((script.N_IN_BLOCK, 2, 4, 4, 1)) + wide
        if (n_trials, n_repeats) == chosen:
            estimates[..., 2, 1] = 5 + 0.001 * np.arange(8)
            intervals[..., 2, 1, :] = [4, 6]
        return {"estimates": estimates, "intervals": intervals}

    arrays, facts = script.gather(None, load)[""]
    right = arrays["right"]
    assert right.shape == (4, len(script.TRIALS), 3, 4, 4)
    assert (right[:, 3, 1, 2, 1] == 1).all() and arrays["estimate"][0, 3, 1, 2, 1] == 5
    right[:, 3, 1, 2, 1] = 0
    assert right.max() == 0
    assert facts["n_sets"] == 2 * script.N_IN_BLOCK and facts["planted_median"] == pytest.approx(0.3)


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


def test_false_alarms_over_subjects_are_as_frequent_as_promised(shipped):
    arrays, facts = shipped
    alarms = arrays["found"][1:, ..., facts["findings"].index("nothing planted")]
    # Means over all designs: no single one has enough studies.
    np.testing.assert_allclose(alarms.mean((1, 2, 3)), 0.05, atol=0.02)


def test_small_findings_are_exaggerated_and_large_ones_are_not(shipped):
    arrays, facts = shipped
    four = arrays["exaggeration"][facts["subjects"].index(4)]
    assert np.nanmedian(four[..., facts["findings"].index("V1 minus V2")]) > 1.2
    assert np.nanmedian(four[1:, ..., facts["findings"].index("early minus ventral")]) < 1.1


def test_intervals_of_chances_hold_them(shipped):
    arrays, facts = shipped
    low, high = power.chance_interval(arrays["right"], arrays["right_se"], facts["n_sets"])
    assert (low <= arrays["right"] + 1e-9).all() and (arrays["right"] <= high + 1e-9).all()
