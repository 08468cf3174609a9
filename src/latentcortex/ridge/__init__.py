"""Fit ridge regression of many targets at once, each with its own penalty.

`regression` holds the estimator, `decomposition` the algebra, and `cross_validation` the choice of penalties.
`rows` checks arrays, and `images` is the base of estimators whose rows belong to images. Nothing here depends
on brains.

References
----------
Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
parameter, Technometrics 21:215-223. Per-target penalties and blocks of targets are as in
himalaya (Dupre la Tour et al. 2022, NeuroImage 264:119728).
"""

from latentcortex.ridge.regression import Ridge, alpha_grid

__all__ = ["Ridge", "alpha_grid"]
