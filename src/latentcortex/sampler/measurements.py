"""Say what responses measure of an image, and how much noise is in it."""

import math
from dataclasses import dataclass

import torch

from latentcortex.features.checks import as_tensor, check_finite
from latentcortex.sampler.checks import as_ids
from latentcortex.store import rows_of


@dataclass(frozen=True)
class Components:
    r"""Hold principal components of latents, the axes in which measurements are given.

    The components of latents z are :math:`x = U^\top (z - \mu)`.

    Attributes
    ----------
    mean : tensor (4, h, w)
        :math:`\mu`, the mean over training images.
    directions : tensor (4 h w, k)
        U, orthonormal columns.
    variances : tensor (k,)
        :math:`\lambda`, the variance of each component over training images, above 0.
    name : str
        What the components are known by. Everything that is measured in them carries this name.
    """

    mean: torch.Tensor
    directions: torch.Tensor
    variances: torch.Tensor
    name: str

    def __post_init__(self):
        for name in ("mean", "directions", "variances"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), name))
            check_finite(getattr(self, name), f"the {name} of components")
        d, k = self.mean.numel(), len(self.variances)
        if self.mean.ndim != 3 or tuple(self.directions.shape) != (d, k) or not 1 <= k <= d:
            raise ValueError(
                f"Expected a mean (4, h, w), directions (4 h w, k) and k variances, got "
                f"{tuple(self.mean.shape)}, {tuple(self.directions.shape)} and {tuple(self.variances.shape)}."
            )
        if not (self.variances > 0).all():
            raise ValueError("Variances of components should be above 0: leave out those that are 0.")
        squares = self.directions.double().T @ self.directions.double()
        off = (squares - torch.eye(k).to(squares)).abs()
        if not off.max() < 1e-3:
            raise ValueError(f"directions should be orthonormal, but are off by up to {off.max():.2g}.")

    def of(self, latents):
        """Return components (n, k) of latents (n, 4, h, w), in the dtype and on the device of the latents."""
        return (latents - self.mean.to(latents)).flatten(1) @ self.directions.to(latents)

    def back(self, components):
        """Return the latents (n, 4, h, w), less the mean, of components (n, k)."""
        return (components @ self.directions.to(components).T).unflatten(1, self.mean.shape)


@dataclass(frozen=True)
class Measurement:
    r"""Hold noisy measurements y = A x + noise of the components x of each image.

    Attributes
    ----------
    values : tensor (n, m)
        y, one row for each image.
    noise : tensor (m,) or (m, m)
        Variances of independent noise, or its covariance. Zero is exact. An infinite variance says nothing.
    image_ids : int array (n,)
    components : str
        Name of the `Components`.
    operator : tensor (m, k), optional
        A. By default the components themselves are measured, m = k.
    """

    values: torch.Tensor
    noise: torch.Tensor
    image_ids: object
    components: str
    operator: torch.Tensor | None = None

    def __post_init__(self):
        values, noise = as_tensor(self.values, "values"), as_tensor(self.noise, "noise")
        if values.ndim != 2 or not values.shape[1]:
            raise ValueError(f"Expected values (n, m), got {tuple(values.shape)}.")
        check_finite(values, "the measured values", "Where nothing is known, give an infinite noise.")
        m = values.shape[1]
        if tuple(noise.shape) not in {(m,), (m, m)}:
            raise ValueError(f"Expected noise ({m},) or ({m}, {m}), got {tuple(noise.shape)}.")
        variances = noise if noise.ndim == 1 else noise.diagonal()
        if not (variances >= 0).all():  # NaN fails as well
            raise ValueError(
                f"Variances of noise should be at least 0, but {(~(variances >= 0)).sum()} of {m} are "
                "negative or NaN."
            )
        if noise.ndim == 2:
            check_finite(noise, "the covariance of the noise", "Leave out what says nothing.")
            if not torch.allclose(noise, noise.T, rtol=1e-4, atol=1e-6 * float(variances.max())):
                raise ValueError("The covariance of the noise is not symmetric.")
            least = torch.linalg.eigvalsh(noise.double()).min()
            if least < -1e-4 * float(variances.max()):
                raise ValueError(
                    f"The covariance of the noise has the eigenvalue {least:.3g}. No sum of noise can "
                    "have a negative variance."
                )
        if self.operator is not None:
            operator = as_tensor(self.operator, "operator")
            if operator.ndim != 2 or len(operator) != m:
                raise ValueError(f"Expected an operator ({m}, k), got {tuple(operator.shape)}.")
            check_finite(operator, "the operator")
            object.__setattr__(self, "operator", operator)
        ids = as_ids(self.image_ids, len(values), "the image_ids of a measurement").numpy()
        rows_of(ids, ids, "the measurement")  # refuses images that have several rows
        object.__setattr__(self, "image_ids", ids)
        # Arrays and lists are kept as tensors, with which is computed.
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "noise", noise)


def measurement_of(predicted, r2, components, image_ids):
    r"""Return the measurement that a decoder makes, given how much of each component it explains.

    A prediction of ridge regression is shrunk: it is :math:`E[x_i \mid \text{betas}]`, whose variance is
    :math:`R^2_i \lambda_i`. So the measurement and its noise are

    .. math:: y_i = \hat x_i / R^2_i, \qquad s_i = \lambda_i (1 - R^2_i) / R^2_i .

    Parameters
    ----------
    predicted : tensor (n, k)
        Decoded components, without any rescaling.
    r2 : tensor (k,)
        Share of the variance of each component that the decoder explains in images that it has not learned
        from, in [0, 1]. Clip what cross-validation found below 0. A component of 0 is not measured.
    components : Components
    image_ids : int array (n,)

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError
        If an R2 is NaN, negative or above 1, or if the number of components is another one.
    """
    predicted, r2 = as_tensor(predicted, "predicted"), as_tensor(r2, "r2")
    variances = components.variances.to(r2)
    if tuple(r2.shape) != tuple(variances.shape) or predicted.ndim != 2 or predicted.shape[1] != len(r2):
        raise ValueError(
            f"Expected predictions (n, {len(variances)}) and as many r2 for the components "
            f"{components.name!r}, got {tuple(predicted.shape)} and {tuple(r2.shape)}."
        )
    wrong = ~((r2 >= 0) & (r2 <= 1))
    if wrong.any():
        raise ValueError(
            f"r2 should be in [0, 1], but is NaN, negative or above 1 for {wrong.sum()} of {len(r2)} "
            f"components, first {r2[wrong][0]:.3g}. Clip what cross-validation found below 0."
        )
    is_measured = r2 > 0
    share = torch.where(is_measured, r2, 1)
    noise = torch.where(is_measured, variances * (1 - r2) / share, math.inf)
    values = torch.where(is_measured.to(predicted.device), predicted / share.to(predicted), 0)
    return Measurement(values, noise, image_ids, components.name)
