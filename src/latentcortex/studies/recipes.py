"""How images are drawn: from whose z and c, under which condition, with which guide."""

import dataclasses
from dataclasses import dataclass

from latentcortex.studies.study import LAYERS


@dataclass(frozen=True)
class Guide:
    """What corrects the sampler; the defaults are the published guide, with features decoded by ridge.

    Attributes
    ----------
    looks_at : {"features", "colours", "brain"}
        What is compared: layers of g, colours in cells, or measured responses (of the first two
        showings) with those that an encoding model predicts for the picture.
    targets : str
        Whose features: ``"ridge"`` and ``"ridge rescaled"`` (decoded), ``"network"`` (decoded by the
        shared space), ``"true"``, ``"other"`` (of another image), or ``"mixed S"`` (the share S of true,
        the rest of decoded ones). Colours are those of the original (``"true"``) or of decoded z.
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
    """How an image is drawn; the default is system A without a guide.

    Attributes
    ----------
    source : str
        Where z and c come from: ``"ridge"`` (decoded from all showings), ``"ridge first"`` and ``"ridge
        two"`` (from the first showing, from the first two), ``"ridge shuffled"`` (by decoders that learned
        from responses of other images), ``"ridge others"`` (decoded from the responses to another image),
        ``"ridge bottleneck K"`` (through K numbers), ``"network METHOD SESSIONS"`` (by the shared space),
        ``"true"``, ``"true span"`` (projected on what decoders can predict), ``"empty"`` (the empty
        caption).
    condition : {"both", "z_only", "c_only", "vae"}
        Of `sampler.reconstruct`; ``"vae"`` decodes z and draws nothing.
    guide : Guide or None
    dpm : bool
        Whether DPM-Solver++ draws instead of DDIM.
    """

    source: str = "ridge"
    condition: str = "both"
    guide: Guide | None = None
    dpm: bool = False

    @property
    def needs_no_brain(self):
        """Tell whether the drawings are the same for all subjects."""
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
