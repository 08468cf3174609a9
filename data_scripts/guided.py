"""What the scripts of guided drawing share: ways to draw, and the guides of a subject.

A `Way` says how images are drawn: from whose z and c, with which guide, towards which targets, how
strongly, in which steps. `GuidedStudy` draws test images in a way and keeps each drawing in the
cache.
"""

import dataclasses
import importlib
from dataclasses import dataclass

import numpy as np
import products
import reconstructions
import spaces
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler

from latentcortex import features, metrics, nsd, sampler, store
from latentcortex.encoding import VoxelwiseEncoder

sharing = importlib.import_module("7_share_a_space")  # a name that starts with a digit

LAYERS = (1, 2, 3, 4, 5, 6)
COLOUR_CELLS = 4  # the colour guide averages images over so many cells a side
N_COMPONENTS = 300  # of g, between image and responses in the encoding model of the brain guide
MODULES = (*reconstructions.MODULES, "encoding", "shared_space")


@dataclass(frozen=True)
class Way:
    """How images are drawn; the defaults are the published way, on decoded features.

    Attributes
    ----------
    guide : {"features", "colours", "brain", None}
        What the guide looks at; None draws without one.
    decoder : {"ridge", "network"}
        What decodes z and c: linear decoders, or the pre-trained networks of script 7.
    targets : {"decoded", "rescaled", "network", "true", "other"} or "mixed S"
        Features decoded by ridge, the same brought to the spread of true ones, those decoded by the
        networks, those of the image itself, or those of another image; or the share S of true and
        the rest of decoded ones.
    layers, weights : see `sampler.feature_guide`
    feature_scale, guided_share : float or None
        None for those chosen on validation images: of the preset for features decoded by ridge, of
        `GuidedStudy` for those of the networks and all that know the truth.
    limited : bool
        Whether no step is longer than the limit of `GuidedStudy`.
    guided_from, through_unet, blend : see `sampler.Guidance`
    tiny : bool
        Whether the guide looks through the tiny autoencoder instead of the VAE.
    dpm : bool
        Whether DPM-Solver++ draws instead of DDIM.
    showings : {"all", "two"}
        Which showings z, c (by ridge) and the targets of the brain guide are read from.
    """

    guide: str | None = "features"
    decoder: str = "ridge"
    targets: str = "decoded"
    layers: tuple[int, ...] = LAYERS
    weights: str = "published"
    feature_scale: float | None = None
    guided_share: float | None = None
    limited: bool = False
    guided_from: float = 0.0
    through_unet: bool = True
    blend: bool = True
    tiny: bool = False
    dpm: bool = False
    showings: str = "all"


UNGUIDED = Way(guide=None)


def share_of(parts, shard, n_shards):
    """Take one share of a list, neighbours together: they often need the same decoders."""
    return [parts[k] for k in np.array_split(np.arange(len(parts)), n_shards)[shard]]


def encode_g(preset, encoder, root, image_ids):
    """Compute true g of images: a dictionary by layer of tensors (n, n_tokens, width)."""
    parts = [
        features.encode_clip_layers(encoder, images.to(preset.device), LAYERS)
        for images in products.image_parts(preset, root, image_ids)
    ]
    return {k: torch.cat([part[k].cpu() for part in parts]) for k in LAYERS}


class BrainEncoder:
    """An encoding model from images to all of visual cortex, by g, differentiable.

    It is fitted on training images. The brain guide runs it forward; the scores by responses come
    from another one, of another network (script 9).
    """

    def __init__(self, encoder, g, betas, image_ids):
        self.encoder = encoder
        self.scale = {k: values.std() for k, values in g.items()}
        self.mean = self._join(g).mean(0)
        centred = self._join(g) - self.mean
        # Principal directions by way of the images, of which there are fewer than numbers.
        values, vectors = torch.linalg.eigh((centred @ centred.T).double())
        n = min(N_COMPONENTS, len(centred) - 1)
        self.directions = centred.T @ (vectors[:, -n:] / values[-n:].sqrt()).float()
        self.model = VoxelwiseEncoder().fit(centred @ self.directions, torch.from_numpy(betas), image_ids)

    def _join(self, g):
        return torch.cat([(g[k] / self.scale[k]).flatten(1) for k in self.scale], dim=1)

    def __call__(self, images):
        """Predict responses (n, n_voxels) to images (n, 3, h, w)."""
        g = features.encode_clip_layers(self.encoder, images, list(self.scale), len(images), False)
        # Fitted in main memory, whatever draws.
        components = (self._join(g).cpu() - self.mean) @ self.directions
        return self.model.predict(components).to(images.device)


class GuidedStudy(reconstructions.Study):
    """A study whose drawings may be guided.

    Parameters
    ----------
    preset, root, n_images : see `reconstructions.Study`
    strengths : dict of str to pair of float
        feature_scale and guided_share, for features that know the truth (``"true"`` with the limit,
        ``"true, no limit"`` without) and for those decoded by networks (``"network"``).
    limit : float or None
        The longest relative step of ways that are limited; None leaves them as they are.
    """

    def __init__(self, preset, root, strengths, limit=None, n_images=None):
        super().__init__(preset, root, n_images)
        self.limit = limit
        self.strengths = {**strengths, "decoded": (preset.feature_scale, preset.guided_share)}
        self.encoder = features.load_clip_image_encoder(preset.guide, preset.device)
        self.decoders = {"full": self.model.vae}
        if preset.tiny_vae is not None:
            self.decoders["tiny"] = features.load_tiny_vae(preset.tiny_vae, preset.device)
        self.description |= {"guide": self.encoder.name, "strengths": strengths, "limit": limit}
        scripts = [__file__, reconstructions.__file__, spaces.__file__, sharing.__file__]
        sources = products.sources(scripts, MODULES)
        key = store.source_hash(sources, [self.description, self.image_ids.tolist()])[:12]
        self.folder = store.cache_folder() / "guided" / f"{root.name}-{key}"
        self._of_subject = {}

    def g_of(self, subject, targets):
        """Get the features that a guide pulls towards, for all test images: by layer."""
        if targets == "network":
            return {k: self.by_network(subject, f"g{k}", rescaled=False) for k in LAYERS}
        if targets in ("decoded", "rescaled"):
            rescale = targets == "rescaled"
            return self._keep(subject, targets, lambda: self._decode_g(subject, rescale))
        true = self._keep(
            "test", "true", lambda: encode_g(self.preset, self.encoder, self.root, self.image_ids)
        )
        if targets == "true":
            return true
        if targets == "other":
            rows = metrics.shuffled_rows(len(self.image_ids), np.random.default_rng([8, 1]))
            return {k: values[rows] for k, values in true.items()}
        if targets.startswith("mixed "):
            share, decoded = float(targets.split()[1]), self.g_of(subject, "decoded")
            return {k: share * true[k] + (1 - share) * decoded[k] for k in true}
        raise ValueError(f"No features {targets!r}: decoded, rescaled, network, true, other, mixed.")

    def _keep(self, subject, name, make):
        """Compute once, and forget what was kept for another subject."""
        if subject != "test":
            for key in [key for key in self._of_subject if key[0] not in ("test", subject)]:
                del self._of_subject[key]
        if (subject, name) not in self._of_subject:
            self._of_subject[subject, name] = make()
        return self._of_subject[subject, name]

    def by_network(self, subject, name, rescaled):
        """Get what the networks decode for the test images, trained where they are missing."""
        with torch.enable_grad():  # for those who train
            made = self._keep(
                subject,
                "network",
                lambda: sharing.predictions(self.preset, self.root, subject, 0, "pretrained", "all"),
            )
        rows = np.searchsorted(made["image_ids"], self.image_ids)
        return torch.from_numpy(made[name + "_rescaled" * rescaled][rows]).float()

    def _training(self, subject):
        """Read the training rows of all of visual cortex: betas, image ids, true g."""
        mask = reconstructions.visual_cortex(self.preset, self.root, subject)
        (betas, ids, _), (test, test_ids, _) = nsd.image_responses(
            self.root, subject, self.preset.space, mask=mask
        )
        g = encode_g(self.preset, self.encoder, self.root, ids)
        return betas, ids, g, test[np.isin(test_ids, self.image_ids)]

    def _decode_g(self, subject, rescale):
        betas, ids, g, test = self._keep(subject, "training", lambda: self._training(subject))
        return {
            k: reconstructions.fit_decoder(self.preset, betas, g[k], ids, rescale).predict(
                test, rescale, self.image_ids
            )
            for k in g
        }

    def guidance(self, subject, way, watch=None):
        """Make the `sampler.Guidance` of a way; None without a guide."""
        if way.guide is None:
            return None
        if way.guide == "features":
            g = self.g_of(subject, way.targets)
            targets = sampler.FeatureTargets({k: g[k] for k in way.layers}, self.image_ids, self.encoder.name)
            guide = sampler.feature_guide(self.encoder, targets, way.weights)
        elif way.guide == "colours":
            z = self.true[0] if way.targets == "true" else self.decoded(subject).z
            shown = features.decode_latents(self.model.vae, z, self.preset.batch_size).clamp(0, 1)
            guide = sampler.colour_guide(F.adaptive_avg_pool2d(shown.float(), COLOUR_CELLS), self.image_ids)
        else:
            guide = self._brain_guide(subject)
        scale, share = self.strength_of(way)
        return sampler.Guidance(
            guide,
            scale,
            share,
            way.guided_from,
            self.decoders["tiny" if way.tiny else "full"],
            through_unet=way.through_unet,
            blend=way.blend,
            max_relative_step=self.limit if way.limited else None,
            watch=watch,
        )

    def strength_of(self, way):
        """Say how strongly a way guides, and what share of the steps: (feature_scale, share)."""
        kinds = {"decoded": "decoded", "rescaled": "decoded", "network": "network"}
        knowing = "true" if way.limited else "true, no limit"
        chosen = self.strengths[kinds.get(way.targets, knowing)]
        own = way.feature_scale, way.guided_share
        return tuple(c if o is None else o for o, c in zip(own, chosen, strict=True))

    def _brain_guide(self, subject):
        betas, ids, g, _ = self._keep(subject, "training", lambda: self._training(subject))
        encode = self._keep(subject, "brain", lambda: BrainEncoder(self.encoder, g, betas, ids))
        measured, image_ids = self.showings(
            subject, reconstructions.visual_cortex(self.preset, self.root, subject)
        )
        return sampler.brain_guide(encode, measured, image_ids)

    def showings(self, subject, mask, third=False):
        """Average the first two showings, or read the third, of images shown three times.

        Returns betas (n, n_voxels) and the ids of these images.
        """
        table, betas = nsd.scaled_betas(self.root, subject, self.preset.space, mask=mask)
        ids = table["image_id"].to_numpy()
        number = table.groupby("image_id").cumcount().to_numpy()
        thrice = np.isin(ids, ids[number == 2]) & np.isin(ids, self.image_ids)
        rows = thrice & ((number == 2) if third else (number < 2))
        return nsd.average_repeats(betas[rows], ids[rows])[:2]

    def z_and_c(self, subject, way):
        """Get decoded z and c of all test images, by the decoder and showings of the way."""
        if way.decoder == "network":
            return [self.by_network(subject, name, self.preset.rescale) for name in "zc"]
        made = self.decoded(subject)
        if way.showings == "all":
            return made.z, made.c
        decoded = [made.z.clone(), made.c.clone()]
        regions = (self.preset.z_rois, self.preset.c_rois)
        for values, decoder, rois in zip(decoded, made.decoders, regions, strict=True):
            mask = nsd.roi_mask(self.root, "streams", rois, self.preset.space, subject)
            betas, ids = self.showings(subject, mask)
            rows = np.isin(self.image_ids, ids)
            values[rows] = decoder.predict(betas, self.preset.rescale, ids)
        return decoded

    def draw(self, subject, way, repeat=0, rows=slice(None), watch=None):
        """Draw some of the test images in a way: tensor (n, 3, h, w) in [0, 1]."""
        preset, ids = self.preset, self.image_ids[rows]
        z, c = self.z_and_c(subject, way)
        model = self.model
        if way.dpm:
            dpm = DPMSolverMultistepScheduler.from_config(model.scheduler.config)
            model = dataclasses.replace(model, scheduler=dpm)
        return sampler.reconstruct(
            model,
            z[rows],
            c[rows],
            condition="both",
            image_ids=ids,
            repeat=repeat,
            strength=preset.strength,
            n_steps=preset.n_steps,
            guidance_scale=preset.guidance_scale,
            guidance=self.guidance(subject, way, watch),
            batch_size=preset.batch_size,
        ).cpu()

    def guided_path(self, subject, way, repeat, rows):
        """Say where a drawing lies."""
        key = store.source_hash([], [dataclasses.asdict(way), self.image_ids[rows].tolist()])[:12]
        return self.folder / f"{subject}-{key}-{repeat}.npz"

    def drawing(self, subject, way, repeat=0, rows=slice(None)):
        """Read one drawing, or make and keep it: tensor (n, 3, h, w) in [0, 1], as from bytes."""
        return reconstructions.kept_images(
            self.guided_path(subject, way, repeat, rows),
            self.image_ids[rows],
            {**self.description, "way": dataclasses.asdict(way)},
            lambda: self.draw(subject, way, repeat, rows),
        )
