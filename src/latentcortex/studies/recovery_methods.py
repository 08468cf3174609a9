"""Define the methods of the recovery benchmark, from `latentcortex.encoding` and from papers.

Each is a method as `recovery` describes it. Methods take any number of feature sets, of which the first is
low-level. Methods for only two sets use the first and the last.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from latentcortex import encoding
from latentcortex.encoding import BandedEncoder, VoxelwiseEncoder

N_DRAWS = 100  # resamplings of test images
N_DRAWS_OF_TRAINING = 40  # of training images, where a map does not depend on the test images
N_CANDIDATES = 12  # shares of banded ridge


def _resampled(kind, statistic, n_images, rng, n_draws=N_DRAWS, **more):
    """Return the map of all images, and the map of images drawn with replacement."""
    draws = [statistic(rng.integers(n_images, size=n_images)) for _ in range(n_draws)]
    return {kind: statistic(np.arange(n_images)), "draws": np.array(draws), **more}


def _predicted(train, test, features=None):
    """Return the prediction of each set on its own, (n_sets, n_images, n_vertices)."""
    sets = range(len(train.features)) if features is None else features
    of_train, of_test = list(train.features.values()), list(test.features.values())
    fitted = [
        VoxelwiseEncoder().fit(of_train[k], train.betas, train.image_ids, train.n_repeats) for k in sets
    ]
    return np.array([f.predict(of_test[k], test.image_ids) for k, f in zip(sets, fitted, strict=True)])


def _joint(train, test):
    """Return the prediction of all sets together by one ridge regression of one penalty."""
    of_train, of_test = (np.hstack(list(rows.features.values())) for rows in (train, test))
    fitted = VoxelwiseEncoder().fit(of_train, train.betas, train.image_ids, train.n_repeats)
    return fitted.predict(of_test, test.image_ids)


def difference_of_r(train, test, rng):
    """Return r of the first set minus r of the last."""
    first, last = _predicted(train, test, (0, -1))

    def statistic(rows):
        return encoding.difference_of_r(first[rows], last[rows], test.betas[rows])

    return _resampled("preference", statistic, len(first), rng)


def preference(train, test, rng):
    """Return the difference of r, divided by the root of the noise ceiling; 0 below a ceiling of 5 %."""
    first, last = _predicted(train, test, (0, -1))

    def statistic(rows):
        r = [encoding.correlation(of[rows], test.betas[rows]) for of in (first, last)]
        return np.nan_to_num(encoding.preference(*r, test.noise_ceiling))

    return _resampled("preference", statistic, len(first), rng)


def first_alone(train, test, _rng):
    """Return r of the first set alone, with p-values; vertices that it predicts are called low-level."""
    r = encoding.correlation(_predicted(train, test, (0,))[0], test.betas)
    p = encoding.p_values(r, len(test.betas), test.image_ids)
    return {"preference": r, "p": p}


def _unique(train, test, rng, combine, score=encoding.signed_r2, kind="preference"):
    joint = _joint(train, test)
    first, last = _predicted(train, test, (0, -1))

    def statistic(rows):
        of = [score(predicted[rows], test.betas[rows]) for predicted in (joint, first, last)]
        return combine(*encoding.unique_and_shared(*of)[:2])

    return _resampled(kind, statistic, len(joint), rng)


def unique_of_first(train, test, rng):
    """Return the unique variance of the first set: signed R2 of the joint model minus that of the last."""
    return _unique(train, test, rng, lambda first, _last: first)


def unique_of_last(train, test, rng):
    """Return the negative unique variance of the last set."""
    return _unique(train, test, rng, lambda _first, last: -last)


def share_of_unique(train, test, rng):
    """Return the share of the first set in both unique variances, by out-of-sample R2."""
    return _unique(train, test, rng, lambda *of: _share(np.array(of)), encoding.out_of_sample_r2, "share")


def _share(parts):
    """Return the part of the first sets among all, in [0, 1]; 0.5 where none explains anything.

    With several sets, a set counts by its place: all for the first, nothing for the last.
    """
    parts = np.maximum(np.nan_to_num(parts), 0)
    total = parts.sum(0)
    lowness = np.linspace(1, 0, len(parts)) @ parts
    return np.where(total > 0, lowness / np.where(total > 0, total, 1), 0.5).clip(0, 1)


def _split(train, test, rng, shares, measure):
    encoder = BandedEncoder(shares).fit(train.features, train.betas, train.image_ids, train.n_repeats)
    parts = encoder.predict(test.features, test.image_ids, split=True)

    def statistic(rows):
        return _share(measure(parts[:, rows], test.betas[rows]))

    return _resampled("share", statistic, len(test.betas), rng)


def banded_product(train, test, rng):
    """Return the share of the first set in the R2 of banded ridge, by the product measure."""
    shares = encoding.draw_shares(len(train.features), N_CANDIDATES, rng)
    return _split(train, test, rng, shares, encoding.product_measure)


def banded_weights(train, test, rng):
    """Return the share of the first set in the R2 of banded ridge, by relative weights."""
    shares = encoding.draw_shares(len(train.features), N_CANDIDATES, rng)
    return _split(train, test, rng, shares, encoding.relative_weights)


def plain_product(train, test, rng):
    """Return the share of the first set in the R2 of one ridge regression with one penalty."""
    shares = encoding.draw_shares(len(train.features), 1, rng)
    return _split(train, test, rng, shares, encoding.product_measure)


def _residual(train, test, rng, order):
    of_train, of_test = ([list(rows.features.values())[k] for k in order] for rows in (train, test))
    of_first, of_rest = encoding.residual_method(
        *of_train, train.betas, train.image_ids, *of_test, train.n_repeats
    )

    def statistic(rows):
        alone = encoding.out_of_sample_r2(of_first[rows], test.betas[rows])
        gain = encoding.out_of_sample_r2((of_first + of_rest)[rows], test.betas[rows]) - alone
        return alone - gain if order[0] == 0 else gain - alone

    return _resampled("preference", statistic, len(of_first), rng)


def residual_first(train, test, rng):
    """Return R2 of the first set minus the R2 that the last adds, fitted to the residuals."""
    return _residual(train, test, rng, (0, -1))


def residual_last(train, test, rng):
    """Return the R2 that the first set adds, fitted to residuals of the last, minus R2 of the last."""
    return _residual(train, test, rng, (-1, 0))


def stacking(train, _test, rng):
    """Return the weight of the first set, or the mean depth of sets, in a stack of all sets."""
    held_out = np.array(
        [
            encoding.held_out_predictions(
                VoxelwiseEncoder(), values, train.betas, train.image_ids, train.n_repeats
            )
            for values in train.features.values()
        ]
    )

    def statistic(rows):
        return _share(encoding.stacking_weights(held_out[:, rows], train.betas[rows]))

    return _resampled("share", statistic, len(train.betas), rng, N_DRAWS_OF_TRAINING)


def argmax(train, test, rng):
    """Return the set with the largest r."""
    predicted = _predicted(train, test)

    def statistic(rows):
        r = np.array([encoding.correlation(of[rows], test.betas[rows]) for of in predicted])
        return encoding.best_layer(r)[0]

    return _resampled("winner", statistic, len(test.betas), rng)


def largest_weight(train, _test, rng):
    """Return the set with the largest sum of squared weights in one ridge regression on all sets."""
    shares = encoding.draw_shares(len(train.features), 1, rng)
    encoder = BandedEncoder(shares).fit(train.features, train.betas, train.image_ids, train.n_repeats)
    size = [
        np.square(encoder.coef_[name] * values.std(0)[:, None]).sum(0)
        for name, values in train.features.items()
    ]
    return {"winner": np.argmax(size, axis=0)}


@dataclasses.dataclass(frozen=True)
class Method:
    """Hold a method with its feature sets, a name for readers and a source."""

    function: Callable
    sets: str
    name: str
    source: str


_TN, _LESCROART = "Takagi and Nishimoto 2023", "Lescroart et al. 2015"
_DUPRE, _LIN = "Dupre la Tour et al. 2022", "Lin et al. 2024"
METHODS = {
    "first_alone": Method(first_alone, "spaces", "r of the first space alone", _TN),
    "difference_of_r": Method(difference_of_r, "spaces", "difference of r", _TN),
    "preference": Method(preference, "spaces", "difference of r over the ceiling", "chapter 10"),
    "argmax_spaces": Method(argmax, "spaces", "better of two spaces", _TN),
    "unique_of_first": Method(unique_of_first, "spaces", "unique variance of the first", _LESCROART),
    "unique_of_last": Method(unique_of_last, "spaces", "unique variance of the second", _LESCROART),
    "share_of_unique": Method(share_of_unique, "spaces", "share of the unique variances", _LESCROART),
    "plain_product": Method(plain_product, "spaces", "one penalty, product measure", _DUPRE),
    "banded_product": Method(banded_product, "spaces", "banded ridge, product measure", _DUPRE),
    "banded_weights": Method(banded_weights, "spaces", "banded ridge, relative weights", _DUPRE),
    "residual_first": Method(residual_first, "spaces", "residuals, first space first", "common use"),
    "residual_last": Method(residual_last, "spaces", "residuals, second space first", "common use"),
    "stacking_spaces": Method(stacking, "spaces", "stacking weights", _LIN),
    "argmax_layers": Method(argmax, "layers", "best layer", "common use"),
    "largest_weight": Method(largest_weight, "layers", "all layers, largest weight", "common use"),
    "stacking_layers": Method(stacking, "layers", "depth by stacking weights", _LIN),
    "banded_layers": Method(banded_product, "layers", "depth by banded product measure", _DUPRE),
}
