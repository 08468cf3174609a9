"""Encoding models from layers of a network to the responses of a region, by principal components."""

import torch

from latentcortex.encoding import VoxelwiseEncoder


class Components:
    """Principal components of features, exact, fitted on training images.

    Parameters
    ----------
    features : tensor (n_images, n_features)
    n_components : int
        At most n_images - 1 are kept.

    Attributes
    ----------
    mean : tensor (n_features,)
    directions : tensor (n_features, n_components)
        Orthonormal, the direction of the largest variance last.
    """

    def __init__(self, features, n_components):
        self.mean = features.mean(0)
        centred = features - self.mean
        # By way of the images, of which there are fewer than features.
        values, vectors = torch.linalg.eigh((centred @ centred.T).double())
        n = min(n_components, len(centred) - 1)
        self.directions = centred.T @ (vectors[:, -n:] / values[-n:].sqrt()).float()

    def __call__(self, features):
        """Return the components (n, n_components) of features (n, n_features)."""
        return (features - self.mean) @ self.directions

    def back(self, components):
        """Return features (n, n_features) that have these components and nothing else."""
        return components @ self.directions.T + self.mean


class LayerEncoder:
    """Predict responses from several layers of a network, differentiably.

    Each layer, or all of them together, is reduced to principal components of the training images; a
    voxelwise ridge regression, which z-scores the components, does the rest.

    Parameters
    ----------
    layers : dict of tensors (n_images, ...)
        Of the training images.
    betas : array (n_images, n_voxels)
    image_ids : int array (n_images,)
    n_components : int
    joint : bool
        Whether all layers, each divided by its standard deviation, share one set of components.
    """

    def __init__(self, layers, betas, image_ids, n_components, joint=False):
        self._scale = {name: values.std() if joint else 1.0 for name, values in layers.items()}
        self._groups = [list(layers)] if joint else [[name] for name in layers]
        self._components = [Components(self._join(layers, names), n_components) for names in self._groups]
        self._model = VoxelwiseEncoder().fit(self._reduce(layers), torch.as_tensor(betas), image_ids)

    def _join(self, layers, names):
        return torch.cat([(layers[name] / self._scale[name]).flatten(1) for name in names], dim=1)

    def _reduce(self, layers):
        pairs = zip(self._components, self._groups, strict=True)
        return torch.cat([components(self._join(layers, names)) for components, names in pairs], dim=1)

    def __call__(self, layers):
        """Predict responses, tensor (n, n_voxels), from layers as those of the training images."""
        return self._model.predict(self._reduce(layers))
