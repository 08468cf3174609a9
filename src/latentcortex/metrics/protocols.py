"""Define named sets of scores, with the sizes, layers and preprocessing that make them comparable."""

from dataclasses import dataclass, field

from latentcortex.metrics.images import colour_means, gabor_energy
from latentcortex.metrics.networks import View

# Features that need no network; called as networks are, though there is one layer to ask for.
WITHOUT_WEIGHTS = {
    "colour_means": lambda images, layers: dict.fromkeys(layers, colour_means(images.numpy())),
    "gabor_energy": lambda images, layers: dict.fromkeys(layers, gabor_energy(images.numpy())),
}
COMPARISONS = ("pixcorr", "ssim", "identification", "distance", "agreement", "f1")


@dataclass(frozen=True)
class Score:
    """Describe one column of a table of scores.

    Attributes
    ----------
    name : str
    compare : {"pixcorr", "ssim", "identification", "distance", "agreement", "f1"}
        "pixcorr" and "ssim" compare pixels. The others compare outputs of `network`.
    network, layer : str or None
        The network, and which of its layers or answers is compared.
    view : View
        How images are prepared for the network.
    direction : {"reconstruction", "original"}
        Direction of an identification.
    same_group : bool
        Whether distractors come only from the image's own group.
    centred : bool
        Whether the mean training image is subtracted first.
    """

    name: str
    compare: str
    network: str | None = None
    layer: str | None = None
    view: View = View()
    direction: str = "reconstruction"
    same_group: bool = False
    centred: bool = False

    def __post_init__(self):
        if self.compare not in COMPARISONS:
            raise ValueError(f"Expected to compare by one of {', '.join(COMPARISONS)}, got {self.compare!r}.")

    @property
    def chance(self):
        """Return the chance level of an identification, or None if it depends on the images."""
        return 0.5 if self.compare == "identification" else None

    @property
    def key(self):
        """Return the key (network, view, layer) under which `extract` keeps what this score compares."""
        return self.network, self.view, self.layer

    @property
    def best(self):
        """Return the score of identical images."""
        return 0.0 if self.compare == "distance" else 1.0


@dataclass(frozen=True)
class Protocol:
    """Hold a named set of scores.

    Attributes
    ----------
    name : str
    source : str
    scores : tuple of Score
    first : View
        How all images are prepared before anything else.
    repeated : bool
        Whether several drawings of an image are compared by the mean of their correlations; else
        the scores of the drawings are averaged.
    criteria : dict of str to tuple of str
        What settings are chosen by: names, each with the scores that it is the mean of. More is better.
    """

    name: str
    source: str
    scores: tuple[Score, ...]
    first: View = View()
    repeated: bool = False
    criteria: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def left_out(self, networks=(), groups=None, mean_image=None):
        """Return what is missing for each score that cannot be computed, as a dict by name."""
        lacking = {}
        for one in self.scores:
            if one.network is not None and one.network not in {*WITHOUT_WEIGHTS, *networks}:
                lacking[one.name] = one.network
            elif one.same_group and groups is None:
                lacking[one.name] = "groups"
            elif one.centred and mean_image is None:
                lacking[one.name] = "mean training image"
        return lacking


def _identified(name, network, layer, *view, **more):
    return Score(name, "identification", network, layer, *view, **more)


def _distance(name, network, layer, *view):
    return Score(name, "distance", network, layer, *view)


def _seen(size, normalise="imagenet", **more):
    return View(size, normalise=normalise, **more)


# One score of pixels, one of a network's early layers, two of what is shown.
_CRITERIA = {name: (name,) for name in ("PixCorr", "AlexNet(2)", "Inception", "CLIP")}


def _mindeye2():
    """Resize bilinearly, without antialiasing, as torchvision resized tensors before 0.17."""
    plain = {"antialias": False}
    pixels = View(425, **plain)
    alexnet = _seen(256, **plain)
    return Protocol(
        "mindeye2",
        "MedARC-AI/MindEyeV2, final_evaluations.ipynb",
        (
            Score("PixCorr", "pixcorr", view=pixels),
            Score("SSIM", "ssim", view=pixels),
            _identified("AlexNet(2)", "alexnet", "features.4", alexnet),
            _identified("AlexNet(5)", "alexnet", "features.11", alexnet),
            _identified("Inception", "inception_v3", "avgpool", _seen(342, **plain)),
            _identified("CLIP", "clip_vit_l_14", "", _seen(224, "clip", **plain)),
            _distance("EfficientNet", "efficientnet_b1_v2", "avgpool", _seen(255, **plain)),
            _distance("SwAV", "swav_resnet50", "avgpool", _seen(224, **plain)),
        ),
        View(256, **plain),
        criteria=_CRITERIA,
    )


def _brain_diffuser():
    """Resize as PIL: bicubic to 425 pixels for the pixels, bilinear for the networks."""
    pixels, network = View(425, mode="bicubic"), _seen(224)
    return Protocol(
        "brain-diffuser",
        "ozcelikfu/brain-diffuser, eval_extract_features.py, evaluate_reconstruction.py",
        (
            Score("PixCorr", "pixcorr", view=pixels),
            Score("SSIM", "ssim", view=pixels),
            _identified("AlexNet(2)", "alexnet", "features.4", network),
            _identified("AlexNet(5)", "alexnet", "features.11", network),
            _identified("Inception", "inception_v3", "avgpool", network),
            _identified("CLIP", "clip_vit_l_14", "", _seen(224, "clip")),
            _distance("EfficientNet", "efficientnet_b1_v1", "avgpool", network),
            _distance("SwAV", "swav_resnet50", "avgpool", network),
        ),
        criteria=_CRITERIA,
    )


def _takagi():
    """Compare each original with the drawings of all images, correlations averaged over five."""
    torchvision = _seen(299, crop=True)
    clip = _seen(224, "clip", crop=True, mode="bicubic")
    layers = (
        ("Inception", "inception_v3", "avgpool", torchvision),
        ("AlexNet pool 2", "alexnet", "features.5", torchvision),
        ("AlexNet pool 5", "alexnet", "features.12", torchvision),
        ("AlexNet fc 7", "alexnet", "classifier.5", torchvision),
        # Hidden state 6 is what comes out of the sixth block, which is number 5.
        ("CLIP block 6", "clip_vit_l_14", "transformer.resblocks.5", clip),
        ("CLIP block 12", "clip_vit_l_14", "transformer.resblocks.11", clip),
        ("CLIP", "clip_vit_l_14", "", clip),
    )
    return Protocol(
        "takagi",
        "yu-takagi/StableDiffusionReconstruction, img2feat_decoded.py, identification.py",
        tuple(_identified(*layer, direction="original") for layer in layers),
        repeated=True,
        criteria={name: (name,) for name in ("AlexNet pool 2", "Inception", "CLIP")},
    )


def _mini():
    """Compare alike with networks that were trained on the miniature world's scenes."""
    alexnet = [f"AlexNet({k})" for k in range(1, 6)]
    return Protocol(
        "mini",
        "this package: its own networks, which know rendered scenes of 64 x 64 pixels",
        (
            Score("PixCorr", "pixcorr"),
            Score("centred PixCorr", "pixcorr", centred=True),
            Score("SSIM", "ssim"),
            _identified("colours in cells", "colour_means", None),
            _identified("contrast energy", "gabor_energy", None),
            *(_identified(name, "small_alexnet", name[-2]) for name in alexnet),
            *(
                _identified(f"{alexnet[k - 1]}, same group", "small_alexnet", str(k), same_group=True)
                for k in (2, 5)
            ),
            *(
                _identified(f"{alexnet[k - 1]}, by original", "small_alexnet", str(k), direction="original")
                for k in (2, 5)
            ),
            _distance("AlexNet(5) distance", "small_alexnet", "5"),
            Score("setting", "agreement", "judge", "setting"),
            Score("kinds", "f1", "judge", "kinds"),
            Score("kinds with colours", "f1", "judge", "colours"),
            Score("kinds with places", "f1", "judge", "places"),
            Score("setting, second judge", "agreement", "classical_judge", "setting"),
            Score("kinds, second judge", "f1", "classical_judge", "kinds"),
        ),
        criteria={
            "centred PixCorr": ("centred PixCorr",),
            "low-level identification": ("colours in cells", "contrast energy"),
            "kinds": ("kinds",),
            "setting": ("setting",),
        },
    )


PROTOCOLS = {made.name: made for made in (_mindeye2(), _brain_diffuser(), _takagi(), _mini())}


def protocol(name):
    """Return the `Protocol` of a name; raise ValueError with the known names if there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol {name!r}. Protocols: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
