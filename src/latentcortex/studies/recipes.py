"""Describe how images are drawn: the source of z and c, the condition and the guide."""

import dataclasses
from dataclasses import dataclass

from latentcortex.studies.study import LAYERS


@dataclass(frozen=True)
class Guide:
    """Describe the guide of the sampler; the defaults are the published guide with features from ridge.

    Attributes
    ----------
    looks_at : {"features", "colours", "brain"}
        What the guide compares. ``"features"`` compares layers of g, and ``"colours"`` compares mean colours
        in cells. ``"brain"`` compares measured responses (first two repeats) with the responses that an
        encoding model predicts for the picture.
    targets : str
        Source of the target features. ``"ridge"`` and ``"ridge rescaled"`` are decoded by ridge regression,
        and ``"network"`` by the shared space. ``"true"`` are true features, and ``"other"`` are true features
        of another image. ``"mixed S"`` mixes the share S of true with decoded features. Colours come from the
        original (``"true"``) or from decoded z.
    layers, weights
        See `sampler.feature_guide`.
    feature_scale, guided_share, guided_from, max_relative_step, through_unet, blend
        See `sampler.Guidance`.
    tiny : bool
        Whether the guide looks through the tiny autoencoder instead of the VAE.
    """

    looks_at: str = "features"
    targets: str = "ridge"
    layers: tuple[int, ...] = LAYERS
    weights: str = "published"
    feature_scale: float = 0.0
    guided_share: float = 0.0
    guided_from: float = 0.0
    max_relative_step: float | None = None
    through_unet: bool = True
    blend: bool = True
    tiny: bool = False


@dataclass(frozen=True)
class Recipe:
    """Describe how an image is drawn; the default is system A without a guide.

    Attributes
    ----------
    source : str
        Source of z and c. ``"ridge"`` decodes them from all repeats, ``"ridge first"`` from the first repeat,
        and ``"ridge two"`` from the first two. ``"ridge shuffled"`` uses decoders that were fitted to
        responses to other images. ``"ridge others"`` decodes from the responses to another image. ``"ridge
        bottleneck K"`` decodes through K dimensions. ``"network METHOD SESSIONS"`` uses the shared space.
        ``"true"`` are true features, and ``"true span"`` are true features projected on the span of the
        decoders. ``"empty"`` is the empty caption.
    condition : {"both", "z_only", "c_only", "vae"}
        Condition of `sampler.reconstruct`. ``"vae"`` only decodes z by the VAE.
    guide : Guide or None
    dpm : bool
        Whether to draw with DPM-Solver++ instead of DDIM.
    """

    source: str = "ridge"
    condition: str = "both"
    guide: Guide | None = None
    dpm: bool = False

    @property
    def needs_no_brain(self):
        """Return whether the drawings are the same for all subjects."""
        return self.source in ("true", "empty") and self.guide is None

    def guided(self, **changes):
        """Return this recipe with some fields of its guide changed."""
        return dataclasses.replace(self, guide=dataclasses.replace(self.guide or Guide(), **changes))


BOTTLENECKS = (1, 2, 4, 8, 16, 32, 64, 128)  # dimensions between the brain and each of z and c
# By the names of the book's tables.
RECIPES = {
    "z_only": Recipe(condition="z_only"),
    "c_only": Recipe(condition="c_only"),
    "both": Recipe(),
    "decoded_z": Recipe(condition="vae"),
    "no_brain": Recipe("empty", "c_only"),
    "shuffled_brain": Recipe("ridge others"),
    "shuffled_pairs": Recipe("ridge shuffled"),
    "one_showing": Recipe("ridge first"),
    **{f"bottleneck_{k}": Recipe(f"ridge bottleneck {k}") for k in BOTTLENECKS},
    "in_span": Recipe("true span"),
    "true_z": Recipe("true", "z_only"),
    "true_c": Recipe("true", "c_only"),
    "true_both": Recipe("true"),
    "vae": Recipe("true", "vae"),
}
