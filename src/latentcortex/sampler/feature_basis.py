"""Read features of images, and say in which axes they are compared."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from latentcortex import features
from latentcortex.features.checks import as_tensor, check_finite


@dataclass(frozen=True)
class FeatureReader:
    """Compute features of images, under a name that all that is measured of them carries.

    Attributes
    ----------
    read : callable
        Differentiable function from images (n, 3, h, w) to features (n, ...).
    name : str
    """

    read: Callable
    name: str

    def __call__(self, images):
        """Return features (n, p) of images (n, 3, h, w)."""
        return self.read(images).flatten(1)


def clip_features(encoder, layers):
    """Return the `FeatureReader` of layers of a CLIP image encoder, one after the other.

    Parameters
    ----------
    encoder : features.ClipImageEncoder
    layers : sequence of int
        Block numbers.
    """
    layers = tuple(layers)

    def read(images):
        found = features.encode_clip_layers(encoder, images, layers, len(images), clamped=False)
        return torch.cat([found[k].flatten(1) for k in layers], dim=1)

    return FeatureReader(read, f"{encoder.name} {','.join(map(str, layers))}")


@dataclass(frozen=True)
class FeatureBasis:
    r"""Hold the axes in which features are compared, :math:`P (\phi - \mu)`.

    Take principal components of the true features of training images. Those of the residuals would not do:
    the first of them hold the most noise, and what is decoded well would be cut off.

    Attributes
    ----------
    mean : tensor (p,)
        :math:`\mu`, the mean over training images.
    directions : tensor (p, k)
        :math:`P^\top`. The columns need not have the same length.
    reader : str
        Name of the `FeatureReader`.
    """

    mean: torch.Tensor
    directions: torch.Tensor
    reader: str

    def __post_init__(self):
        for name in ("mean", "directions"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), name))
            check_finite(getattr(self, name), f"the {name} of a basis")
        p = self.mean.numel()
        if self.mean.ndim != 1 or self.directions.ndim != 2 or len(self.directions) != p or not self.k:
            raise ValueError(
                f"Expected a mean (p,) and directions (p, k), got {tuple(self.mean.shape)} and "
                f"{tuple(self.directions.shape)}."
            )

    @property
    def k(self):
        """Return the number of axes."""
        return self.directions.shape[1]

    def of(self, values):
        """Return components (n, k) of features (n, ...), in the dtype and on the device of the features."""
        rows = values.flatten(1)
        if rows.shape[1] != len(self.mean):
            raise ValueError(
                f"The basis is of {len(self.mean)} features of {self.reader!r}, got {rows.shape[1]}."
            )
        return (rows - self.mean.to(rows)) @ self.directions.to(rows)
