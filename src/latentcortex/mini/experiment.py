"""The simulated experiment: when which image is shown, and what the subjects answer."""

import numpy as np
import pandas as pd


def order_trials(n_images, n_repeats, rng, n_early=0, n_first=0):
    """Order the repeats of images as NSD does: most far apart, some within a session.

    Each image has a favourite moment of the experiment; each of its showings falls near it or
    anywhere, with equal chance. Every image has the same chances at every moment.

    Parameters
    ----------
    n_images, n_repeats : int
    rng : numpy.random.Generator
    n_early, n_first : int
        Each of the first `n_early` images is shown at least once in the first `n_first` trials, so
        that subjects who stop early have seen it too.

    Returns
    -------
    int array (n_images * n_repeats,)
        0-based image of each trial.
    """

    def draw(n):
        favourite = rng.uniform(size=(n, 1)) + rng.normal(0, 0.03, (n, n_repeats))
        anywhere = rng.uniform(size=(n, n_repeats))
        return np.where(rng.random((n, n_repeats)) < 0.5, favourite, anywhere) % 1

    if n_early and n_first < n_early:
        raise ValueError(f"{n_early} images can't all be shown in the first {n_first} trials.")
    times = draw(n_images)
    while True:
        order = np.argsort(times.ravel()) // n_repeats
        late = np.setdiff1d(np.arange(n_early), order[:n_first])
        if not len(late):
            return order
        times[late] = draw(len(late))


def stimulus_pattern(n_sessions, n_runs, n_slots, n_trials, rng):
    """Lay the trials of a session into runs, with blank slots between them.

    NSD has 12 runs of 75 slots for 750 trials, 63 and 62 in turns; three slots at the start of a
    run and four at its end are blank.

    Parameters
    ----------
    n_sessions, n_runs, n_slots, n_trials : int
        `n_slots` of a run, `n_trials` of a session.
    rng : numpy.random.Generator

    Returns
    -------
    bool array (n_sessions, n_runs, n_slots)
        True where an image is shown.
    """
    lengths = np.diff(np.ceil(np.arange(n_runs + 1) * n_trials / n_runs)).astype(int)
    if lengths.max() > n_slots:
        raise ValueError(f"{n_trials} trials don't fit into {n_runs} runs of {n_slots} slots.")
    pattern = np.zeros((n_sessions, n_runs, n_slots), bool)
    for session in pattern:
        for run, length in zip(session, lengths, strict=True):
            start = min(3, n_slots - length)
            stop = n_slots - min(4, n_slots - length - start)
            run[rng.choice(np.arange(start, stop), length, replace=False)] = True
    return pattern


def simulate_responses(subject, order, image_ids, pattern, rng):
    """Simulate the log of a subject who tells for each image whether it was seen before.

    The chance to know an old image falls from 0.97 with the logarithm of the trials gone by.

    Parameters
    ----------
    subject : int
        1-based.
    order : int array (at least n_trials,)
        0-based image of each trial, as from `order_trials`.
    image_ids : int array (n_images,)
        0-based 73k ids of this subject's images.
    pattern : bool array (n_sessions, n_runs, n_slots)
        As from `stimulus_pattern`, for the sessions of this subject.
    rng : numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        The columns of NSD's ``responses.tsv``; ids 1-based, TIME in days, RT in milliseconds.
    """
    session, run, slot = np.nonzero(pattern)
    image = pd.Series(order[: len(session)])
    trial = pd.Series(np.arange(len(session)))
    last = trial.groupby(image).shift()
    first = trial.groupby(image).transform("min")
    is_old, is_old_now = last.notna().to_numpy(), (last.map(pd.Series(session)) == session)
    known = 0.97 - 0.04 * np.log1p((trial - last).fillna(0))
    says_old = rng.random(len(image)) < np.where(is_old, known, 0.15)
    answered = rng.random(len(image)) > 0.003
    runs = pd.Series(session * pattern.shape[1] + run)

    def if_answered(values):
        return np.where(answered, np.asarray(values, float), np.nan)

    return pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": session + 1,
            "RUN": run + 1,
            "TRIAL": trial.groupby(runs).cumcount() + 1,
            "73KID": image_ids[image] + 1,
            "10KID": image + 1,
            # A session a week from ten in the morning on, a run every six minutes, a slot of 4 s.
            "TIME": 7 * session + (10 + run / 10 + slot / 900) / 24,
            "ISOLD": is_old.astype(int),
            "ISCORRECT": if_answered(says_old == is_old),
            "RT": if_answered(rng.lognormal(np.log(850), 0.3, len(image))),
            "CHANGEMIND": if_answered(np.zeros(len(image))),
            "MEMORYRECENT": trial - last - 1,
            "MEMORYFIRST": (trial - first - 1).where(is_old),
            "ISOLDCURRENT": is_old_now.astype(int),
            "ISCORRECTCURRENT": if_answered(says_old == is_old_now),
            "TOTAL1": (answered & ~says_old).astype(int),
            "TOTAL2": (answered & says_old).astype(int),
            "BUTTON": if_answered(1 + says_old),
            "MISSINGDATA": 0,
        }
    )
