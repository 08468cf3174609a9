"""Ridge regression of many targets at once, each with a penalty of its own.

`regression` holds the estimator, `decomposition` the algebra, `cross_validation` the choice of
penalties; `rows` checks what comes in, and `images` is the base of estimators whose rows belong to images.
Knows nothing of brains.

References
----------
Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
parameter, Technometrics 21:215-223. Per-target penalties and blocks of targets are as in
himalaya (Dupre la Tour et al. 2022, NeuroImage 264:119728).
"""

from latentcortex.ridge.regression import Ridge, alpha_grid

__all__ = ["Ridge", "alpha_grid"]
