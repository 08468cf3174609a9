r"""Guide drawings by decoded features, as far as the noise of each feature allows.

A published guide pulls towards decoded features with a strength that has to be chosen. Here the strength
follows from how far decoded features lie from those of predicted pictures. Let y be what was decoded and
:math:`x_0(z_t)` the predicted picture. If y given the noisy latents is normal around :math:`f(x_0(z_t))` with
the covariance S(t), then with L as half the squared distance in units of S(t)

.. math:: \nabla_{z_t} \log p(z_t \mid y) = \nabla_{z_t} \log p(z_t) - \nabla_{z_t} L,
          \qquad L = \tfrac12 r^\top S(t)^{-1} r, \qquad r = y - f(x_0(z_t)).

The predicted noise is :math:`\epsilon = -\sqrt{1 - \bar\alpha_t} \, \nabla \log p(z_t)`, so the posterior's
noise is :math:`\epsilon + \sqrt{1 - \bar\alpha_t} \, \nabla_{z_t} L`. That is the term which `Guidance` adds
at a `feature_scale` of 1, if the gradient passes through the U-Net and the guide looks at :math:`x_0` itself.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from latentcortex.features.checks import as_tensor, check_finite
from latentcortex.sampler.checks import as_ids
from latentcortex.sampler.feature_basis import FeatureBasis, FeatureReader
from latentcortex.sampler.guidance import Guidance
from latentcortex.store import rows_of


@dataclass(frozen=True, eq=False)
class ResidualGaussian:
    r"""Hold how far decoded features lie from those of predicted pictures, at each noise level.

    With the components f of a predicted picture's features, decoded components are

    .. math:: \hat g = b f + m_t + n, \qquad n \sim N(0, S_t) .

    So decoded values that are shrunk, as those of ridge regression are, need no rescaling. The likelihood of
    :math:`y = \hat g / b`, whose noise has the covariance :math:`S_t / b b^\top`, is the same.

    Attributes
    ----------
    basis : FeatureBasis
    slopes : tensor (k,)
        b, at least 0, for example 1 for measurements that are not shrunk. See `calibration`.
    timesteps : tuple of int
    offsets : tensor (n_timesteps, k)
        :math:`m_t`, which is 0 if decoded features and those of predicted pictures have no bias.
    covariances : tensor (n_timesteps, k, k)
        :math:`S_t`. A component of infinite variance says nothing, and its covariances are not looked at.
        Components may be copies of each other.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or if slopes or variances are out of range.
    """

    basis: FeatureBasis
    slopes: torch.Tensor
    timesteps: tuple[int, ...]
    offsets: torch.Tensor
    covariances: torch.Tensor

    def __post_init__(self):
        object.__setattr__(self, "timesteps", tuple(map(int, self.timesteps)))
        for name in ("slopes", "offsets", "covariances"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), name))
        n, k = len(self.timesteps), self.basis.k
        if not n or len(set(self.timesteps)) < n:
            raise ValueError(f"Expected timesteps that differ, at least one, got {list(self.timesteps)}.")
        got = tuple(tuple(of.shape) for of in (self.slopes, self.offsets, self.covariances))
        if got != ((k,), (n, k), (n, k, k)):
            raise ValueError(
                f"Expected slopes ({k},), offsets ({n}, {k}) and covariances ({n}, {k}, {k}) of {n} "
                f"timesteps and {k} components, got {got[0]}, {got[1]} and {got[2]}."
            )
        if not ((self.slopes >= 0) & (self.slopes < math.inf)).all():
            raise ValueError("Slopes should be finite and at least 0: clip what was estimated below 0.")
        check_finite(self.offsets, "the offsets of residuals")
        for timestep, covariance in zip(self.timesteps, self.covariances, strict=True):
            _check_covariance(covariance, timestep)

    def root(self, timestep):
        """Return W (k, k) of a timestep, where W'W is the inverse of the covariance.

        What components that repeat each other have in common counts once.

        Raises
        ------
        ValueError
            If residuals were not measured at this timestep.
        """
        if timestep not in self.timesteps:
            raise ValueError(
                f"Residuals were measured at other timesteps, not at {timestep}. Measure them again for this "
                "number of steps and this strength."
            )
        if timestep not in self._roots:
            self._roots[timestep] = inverse_root(self.covariances[self.timesteps.index(timestep)])
        return self._roots[timestep]

    def loss(self, values, decoded, timestep):
        """Return half the squared distance (n,) of features (n, ...) from decoded components (n, k)."""
        root = self.root(timestep)
        offset = self.offsets[self.timesteps.index(timestep)].to(decoded)
        off = decoded - self.slopes.to(decoded) * self.basis.of(values) - offset
        return 0.5 * (off @ root.T.to(off)).square().sum(1)

    def independent(self):
        """Return these residuals with those of different components taken for independent.

        What components have in common is then counted several times. Variances stay as they are.
        """
        return replace(self, covariances=self.covariances.diagonal(dim1=1, dim2=2).diag_embed())

    @functools.cached_property
    def _roots(self):
        return {}


def inverse_root(covariance):
    """Return W (k, k), float64, where W'W is the pseudoinverse of a covariance (k, k).

    It is computed in units of each component's own spread, because a very noisy component would otherwise
    make the others look like rounding errors. A component of infinite variance has a column of zeros.
    """
    tolerance = len(covariance) * torch.finfo(covariance.dtype).eps
    variances = covariance.diagonal().cpu().double()
    unit = torch.where(torch.isfinite(variances), 1 / variances.sqrt(), 0)
    known = unit > 0
    correlations = torch.zeros(len(unit), len(unit), dtype=torch.double)
    inside = known[:, None] & known
    correlations[inside] = (covariance.cpu().double() * unit * unit[:, None])[inside]
    values, vectors = torch.linalg.eigh(correlations)
    kept = values > tolerance * values.max().clamp(min=1e-30)
    scales = torch.where(kept, values.clamp(min=1e-30).rsqrt(), 0)
    return scales[:, None] * vectors.T * unit


def _check_covariance(covariance, timestep):
    """Raise ValueError unless a matrix (k, k) is a covariance, whose variances may be infinite."""
    variances = covariance.diagonal()
    if not (variances > 0).all():  # NaN fails as well
        raise ValueError(
            f"Variances of residuals should be above 0, but {(~(variances > 0)).sum()} of {len(variances)} "
            f"are not at timestep {timestep}. Where nothing is known, give an infinite one."
        )
    known = torch.isfinite(variances)
    inside = covariance[known][:, known]
    if not len(inside):
        return
    check_finite(inside, f"the covariance of residuals at timestep {timestep}")
    unit = inside.diagonal().double().rsqrt()
    correlations = inside.double() * unit * unit[:, None]
    if not torch.allclose(correlations, correlations.T, rtol=0, atol=1e-4):
        raise ValueError(f"The covariance of residuals at timestep {timestep} is not symmetric.")
    least = torch.linalg.eigvalsh(correlations).min()
    if least < -1e-4:
        raise ValueError(
            f"The covariance of residuals at timestep {timestep} has the eigenvalue {least:.3g}, in units of "
            "the spread. No sum of noise can have a negative variance."
        )


@dataclass(frozen=True, eq=False)
class PreciseGuide:
    r"""Pull towards decoded features or measured responses, each as far as its noise allows.

    .. math:: L = \tfrac12 r^\top S_t^{-1} r, \qquad r = \hat g - b P (\phi(x) - \mu) - m_t

    A covariance that is full counts once what several components say together, and one that is diagonal
    counts it several times. Use it in `PreciseGuidance`, which says at which timestep it is asked.

    Attributes
    ----------
    reader : FeatureReader
        :math:`\phi`, features of a network, or responses that an encoding model predicts.
    decoded : tensor (n, k)
        :math:`\hat g`, decoded components of features, without rescaling. For responses these are components
        of what was measured.
    image_ids : int array (n,)
    residuals : ResidualGaussian

    Raises
    ------
    ValueError
        If residuals belong to another reader, decoded components have another shape or are not finite, or an
        image has two rows.
    """

    reader: FeatureReader
    decoded: torch.Tensor
    image_ids: object
    residuals: ResidualGaussian

    def __post_init__(self):
        basis, decoded = self.residuals.basis, as_tensor(self.decoded, "decoded")
        if basis.reader != self.reader.name:
            raise ValueError(
                f"The residuals are of features of {basis.reader!r}, the guide reads those of "
                f"{self.reader.name!r}: they can't be compared. Measure residuals of these features."
            )
        if decoded.ndim != 2 or decoded.shape[1] != basis.k:
            raise ValueError(f"Expected decoded components (n, {basis.k}), got {tuple(decoded.shape)}.")
        check_finite(decoded, "decoded components")
        ids = as_ids(self.image_ids, len(decoded), "the image_ids of a guide").numpy()
        rows_of(ids, ids, "the guide")  # refuses images that have several rows
        object.__setattr__(self, "decoded", decoded.float())
        object.__setattr__(self, "image_ids", ids)

    def at(self, timestep):
        """Return the loss of this timestep, a function ``guide(images, image_ids)``."""
        self.residuals.root(timestep)  # refuses timesteps that were not measured

        def guide(images, image_ids):
            wanted = as_ids(image_ids, len(image_ids)).numpy()
            rows = torch.from_numpy(rows_of(self.image_ids, wanted, "the guide"))
            values = self.reader(images)
            return self.residuals.loss(values, self.decoded[rows].to(values), timestep)

        return guide

    def __call__(self, images, image_ids):  # noqa: ARG002 - as guides are called
        """Refuse to guide without a timestep."""
        raise ValueError(
            "What a precise guide asks for depends on the timestep. Pass it to PreciseGuidance, or take "
            "guide.at(timestep)."
        )


@dataclass(frozen=True)
class PreciseGuidance(Guidance):
    r"""Correct the predicted noise by a guide that depends on the timestep, such as `PreciseGuide`.

    All attributes are those of `Guidance`. The defaults give the score of the posterior: `feature_scale` 1,
    in all steps, through the U-Net, and a look at :math:`x_0` itself (no `blend`).

    Attributes
    ----------
    guide : PreciseGuide
        Or another object whose ``at(timestep)`` returns a guide.
    feature_scale : float or callable
        1 takes the noise as it was estimated. Above 1 the guide is trusted more.
    blend : bool

    Notes
    -----
    For Gaussian latents, linear features and known noise the drawing is that from the posterior, the same as
    by `KalmanCorrection`. Without the gradient of the U-Net (`through_unet`), the covariance of the network's
    errors is replaced by :math:`(1 - \bar\alpha_t) / \bar\alpha_t`, which is not the posterior.

    The loss is taken at the conditional prediction, so measure residuals there (`predicted_features`). Under
    classifier-free guidance the same term is added once. What is drawn then is the sharpened distribution
    times the likelihood of what was decoded.

    Features, z and c that are decoded from the same responses share their noise. A guide next to a
    `KalmanCorrection` counts twice what both know, and so does a drawing that starts from decoded z.
    Residuals are measured on true latents with noise, which such a drawing does not pass through.
    """

    feature_scale: float | Callable = 1.0
    blend: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not callable(getattr(self.guide, "at", None)):
            raise ValueError(
                f"Expected a guide that depends on the timestep, such as PreciseGuide, got {self.guide!r}. "
                "Pass other guides to Guidance."
            )

    def correct(self, predict_noise, noisy, abar, image_ids, step, timestep):
        """Return the noise predicted under the condition, and the correction, as `Guidance.correct`."""
        settings = {of.name: getattr(self, of.name) for of in fields(Guidance)}
        now = Guidance(**settings | {"guide": self.guide.at(timestep)})
        return now.correct(predict_noise, noisy, abar, image_ids, step, timestep)
