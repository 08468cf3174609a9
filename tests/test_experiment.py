"""The simulated experiment orders its trials like NSD's, and its subjects remember."""

import numpy as np
import pandas as pd
import pytest

from latentcortex.mini import experiment


def test_trials_of_the_standard_sizes_are_ordered_like_nsds(rng):
    order = experiment.order_trials(1000, 3, rng, n_early=200, n_first=2250)
    assert (np.bincount(order) == 3).all()
    assert len(np.intersect1d(order[:2250], np.arange(200))) == 200
    trials = pd.DataFrame({"image": order, "session": np.arange(3000) // 750})
    n_sessions = trials.groupby("image")["session"].nunique()
    # Most images come in two or more sessions, many showings lie within one.
    assert (n_sessions > 1).mean() > 0.7
    gaps = np.diff(np.sort(order, kind="stable").reshape(1000, 3))
    assert not gaps.any()
    same = 1 - (n_sessions - 1).sum() / 2000
    assert 0.2 < same < 0.6
    # Every session shows shared and own images alike.
    share = trials.groupby("session")["image"].agg(lambda image: (image < 200).mean())
    assert share.between(0.13, 0.28).all()
    with pytest.raises(ValueError, match="can't all be shown"):
        experiment.order_trials(30, 3, rng, n_early=20, n_first=10)


def test_runs_have_63_and_62_trials_with_blanks_at_both_ends(rng):
    pattern = experiment.stimulus_pattern(4, 12, 75, 750, rng)
    assert pattern.sum(axis=2).tolist() == [[63, 62] * 6] * 4
    assert not pattern[..., :3].any() and not pattern[..., -4:].any()
    assert experiment.stimulus_pattern(1, 2, 5, 10, rng).all()
    with pytest.raises(ValueError, match="11 trials don't fit into 2 runs of 5 slots"):
        experiment.stimulus_pattern(1, 2, 5, 11, rng)


def test_the_log_counts_what_was_seen_before(rng):
    order = rng.permutation(np.repeat(np.arange(20), 3))
    pattern = experiment.stimulus_pattern(3, 2, 12, 20, rng)
    log = experiment.simulate_responses(2, order, 5 * np.arange(20), pattern, rng)
    for t in range(60):
        before = [u for u in range(t) if order[u] == order[t]]
        row = log.iloc[t]
        assert row["SUBJECT"] == 2 and row["SESSION"] == t // 20 + 1
        assert row["73KID"] == 5 * order[t] + 1 and row["10KID"] == order[t] + 1
        assert row["ISOLD"] == bool(before)
        assert row["ISOLDCURRENT"] == any(u // 20 == t // 20 for u in before)
        for name, position in (("MEMORYRECENT", -1), ("MEMORYFIRST", 0)):
            if before:
                assert row[name] == t - before[position] - 1
            else:
                assert np.isnan(row[name])
        if not np.isnan(row["BUTTON"]):
            assert row["ISCORRECT"] == ((row["BUTTON"] == 2) == row["ISOLD"])
            assert (row["TOTAL1"], row["TOTAL2"]) == (row["BUTTON"] == 1, row["BUTTON"] == 2)
    assert log["TIME"].is_monotonic_increasing
    assert log.groupby(["SESSION", "RUN"])["TRIAL"].agg(list).eq([list(range(1, 11))] * 6).all()


def test_subjects_of_the_simulation_remember_better_than_chance(rng):
    order = experiment.order_trials(1000, 3, rng)
    pattern = experiment.stimulus_pattern(4, 12, 75, 750, rng)
    log = experiment.simulate_responses(1, order, np.arange(1000), pattern, rng)
    correct = log.groupby("ISOLD")["ISCORRECT"].mean()
    assert 0.8 < correct[0] < 0.9 and 0.65 < correct[1] < 0.9
    assert 0 < log["BUTTON"].isna().sum() < 30
