"""Reads an NSD tree and a preset's networks; writes results/6_reconstruct_images-WORLD*.npz.

System A on every subject and every shared image: decoders of z and c fitted on the training images,
five drawings under each of the three conditions, each scored against what was seen. What was
declared before the run stands in the chapter 06_reconstruct_images.

One part is one drawing of all test images of one subject under one condition. Parts lie in the
cache, with all their images; a run that was killed goes on with the parts that are missing.
``--shard 0/2`` and ``--shard 1/2`` share the parts between two processes; who finishes last writes.

Three files are written: scores of each image (its name ends with the world's), ``-shuffles``
(identification after shuffling reconstructions against originals) and ``-pictures`` (the first
drawing of a few images drawn at random).
"""

import argparse
import dataclasses

import numpy as np
import products
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from latentcortex import features, metrics, nsd, presets, sampler, store
from latentcortex.decoders import LinearDecoder
from latentcortex.mini import networks
from latentcortex.mini.classical_judge import load_classical_judge

SEED = 6
N_DRAWS, N_SHUFFLES, N_PICTURES, PICTURE_SIZE = 5, 100, 8, 64
# Drawn once: what they hold has no noise in it, or one drawing is enough to tell.
BASELINES = ("decoded_z", "shuffled_pairs", "vae", "mean_image")
LOW_LEVEL = {"colour": metrics.colour_means, "gabor": metrics.gabor_energy}
SCORES = (
    *("pixcorr", "centred_pixcorr", "ssim"),
    *(f"{name}{judge}" for judge in ("", "_classical") for name in ("setting", "kinds")),
    *(f"{name}{of}" for name in LOW_LEVEL for of in ("", "_of_originals")),
)
# Between machines sums are rounded differently, and a judge on the fence may fall to either side.
TOLERANCE = {"pixels_of_one_row": 0.02, "mean_over_rows": 0.01}
# What a product depends on.
MODULES = ("sampler", "decoders", "ridge", "metrics", "mini/networks", "mini/classical_judge")
NETWORKS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler", "judge")


def responses(preset, root, subject, rois):
    """Read the responses of some of the streams: train and test, see `nsd.image_responses`."""
    mask = nsd.roi_mask(root, "streams", rois, preset.space, subject)
    return nsd.image_responses(root, subject, preset.space, mask=mask)


def fit_decoder(preset, betas, targets, image_ids, rescale):
    """Fit on one row an image; for the rescaling, 100 further images are kept out of the fit."""
    decoder = LinearDecoder(preset.alphas, cv="gcv")
    if not rescale:
        return decoder.fit(betas, targets, image_ids)
    rng = np.random.default_rng([SEED, 1])
    is_fit = np.isin(image_ids, nsd.validation_split(image_ids, rng=rng)[0])
    decoder.fit(betas[is_fit], targets[is_fit], image_ids[is_fit])
    return decoder.fit_rescaling(betas[~is_fit], targets[~is_fit])


def decode(preset, model, root, subject, shuffle_pairs=False):
    """Decode z and c of the subject's test images.

    With `shuffle_pairs` the decoders learn from responses that belong to other images.

    Returns z (n, 4, h, w), c (n, n_tokens, d), the ids of the n test images and the mean training
    image (3, h, w).
    """
    decoded = []
    for k, rois in enumerate((preset.z_rois, preset.c_rois)):
        (betas, image_ids, _), (test_betas, test_ids, _) = responses(preset, root, subject, rois)
        if k == 0:
            true = products.encode(preset, model, root, image_ids)
            mean_image = torch.from_numpy(nsd.images(root, image_ids, preset.image_size)).mean(0)
        if shuffle_pairs:  # one permutation for both regions: whole brains change places
            betas = betas[np.random.default_rng([SEED, 2]).permutation(len(betas))]
        decoder = fit_decoder(preset, betas, true[k], image_ids, preset.rescale)
        decoded.append(decoder.predict(test_betas, rescale=preset.rescale))
    return *decoded, test_ids, mean_image


def load_judges(preset):
    """Load both judges, small enough for the CPU, by the ending of the names of their scores."""
    return {
        "": networks.load_judge(preset.judge),
        "_classical": load_classical_judge(preset.judge),
    }


def read(judge, images):
    """Let a judge read images: the setting (n,), and for each kind whether it is there (n, k)."""
    says = judge(images)
    return torch.as_tensor(says["setting"]).argmax(-1), torch.as_tensor(says["kind"]) > 0


def prepare_originals(judges, images):
    """Compute once what every reconstruction is compared with."""
    low_level = {name: feature(images) for name, feature in LOW_LEVEL.items()}
    contents = {f"read{end}": read(judge, images) for end, judge in judges.items()}
    return {"images": images, **contents, **low_level}


def score(judges, images, originals, mean_image):
    """Score reconstructions (n, 3, h, w) of `prepare_originals`' images: arrays (n,), by name."""
    true = originals["images"]
    # The mean image less itself is no picture, and nothing correlates with it.
    undefined = torch.equal(images[0], mean_image)
    scores = {
        "pixcorr": metrics.pixcorr(images, true),
        "centred_pixcorr": np.full(len(true), np.nan)
        if undefined
        else metrics.pixcorr(images, true, mean_image),
        "ssim": metrics.ssim(images, true),
    }
    for end, judge in judges.items():
        setting, there = originals[f"read{end}"]
        read_setting, drawn = read(judge, images)
        both, n_named = (there & drawn).sum(1), there.sum(1) + drawn.sum(1)
        scores[f"setting{end}"] = (read_setting == setting).numpy()
        # F1 of the kinds named; where both name none they agree.
        scores[f"kinds{end}"] = torch.where(n_named > 0, 2 * both / n_named.clamp(min=1), 1).numpy()
    for name, feature in LOW_LEVEL.items():
        pair = originals[name], feature(images)
        scores[name] = metrics.identification(*pair)
        scores[f"{name}_of_originals"] = metrics.identification(*pair, direction="original")
    return {name: values.astype(np.float32) for name, values in scores.items()}


def draw(preset, model, condition, repeat, z, c, image_ids):
    """Reconstruct images under one of the three conditions with the preset's settings."""
    return sampler.reconstruct(
        model, z, c, condition=condition, image_ids=image_ids, repeat=repeat,
        strength=preset.strength, n_steps=preset.n_steps, guidance_scale=preset.guidance_scale,
        batch_size=preset.batch_size,
    ).cpu()  # fmt: skip


def make_part(preset, model, name, repeat, decoded, originals):
    """Make the images of one condition or baseline: (n, 3, h, w) in [0, 1]."""
    z, c, image_ids, mean_image = decoded
    if name == "mean_image":
        return mean_image.expand(len(z), -1, -1, -1)
    if name == "vae":
        z = features.encode_images(model.vae, originals["images"], preset.batch_size)
    if name in ("vae", "decoded_z"):
        return features.decode_latents(model.vae, z, preset.batch_size).clamp(0, 1)
    condition = "both" if name == "shuffled_pairs" else name
    return draw(preset, model, condition, repeat, z, c, image_ids)


def describe(preset, root, **more):
    """Write down what a product depends on, JSON-able."""
    fields = dataclasses.asdict(preset)
    # The hash tells the networks, wherever they lie.
    for unneeded in ("model", "guide", "judge", "expected_minutes"):
        fields.pop(unneeded)
    settings = {**fields, "dtype": str(preset.dtype)}
    return {
        "script": "data_scripts/6_reconstruct_images.py",
        "preset": preset.name,
        "world": root.name,
        "weights": products.weights_hash(preset, *NETWORKS),
        "seed": SEED,
        "settings": settings,
        **more,
    }


class Study:
    """What all parts share: preset, networks, test images and the folder of the parts."""

    def __init__(self, preset, root, n_images):
        self.preset, self.root = preset, root
        device = preset.device
        self.model = features.load_latent_diffusion(
            preset.model, preset.revision, preset.dtype, device
        )
        self.judges = load_judges(preset)
        self.subjects = [f"subj{subject:02d}" for subject in preset.subjects]
        tests = {tuple(nsd.split(nsd.trials(root, s))[1].tolist()) for s in self.subjects}
        if len(tests) != 1:
            raise ValueError(
                "The subjects saw different shared images: choose sessions in which all of them "
                "saw the same, or run the subjects one by one."
            )
        self.image_ids = np.array(tests.pop())
        if n_images:
            rng = np.random.default_rng([SEED, 3])
            self.image_ids = np.sort(rng.choice(self.image_ids, n_images, replace=False))
        images = torch.from_numpy(nsd.images(root, self.image_ids, preset.image_size))
        self.originals = prepare_originals(self.judges, images)
        self.description = describe(preset, root, n_images=len(self.image_ids))
        key = store.source_hash(products.sources([__file__], MODULES), self.description)[:12]
        self.folder = store.cache_folder() / "6_reconstruct_images" / f"{root.name}-{key}"
        self._decoded = {}

    def path(self, subject, name, repeat):
        return self.folder / f"{subject}-{name}-{repeat}.npz"

    def decoded(self, subject, shuffle_pairs):
        """Decode z and c of the test images chosen; the last ones asked for are kept."""
        key = subject, shuffle_pairs
        if key not in self._decoded:
            z, c, ids, mean_image = decode(
                self.preset, self.model, self.root, subject, shuffle_pairs
            )
            rows = np.isin(ids, self.image_ids)
            self._decoded = {key: (z[rows], c[rows], ids[rows], mean_image)}
        return self._decoded[key]

    def run(self, subject, name, repeat):
        """Make, score and save one part."""
        decoded = self.decoded(subject, name == "shuffled_pairs")
        images = make_part(self.preset, self.model, name, repeat, decoded, self.originals)
        scores = score(self.judges, images, self.originals, decoded[-1])
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        store.save(
            self.path(subject, name, repeat),
            provenance=self.description,
            image_ids=self.image_ids,
            images=pixels,
            **scores,
        )


def write_product(study, n_draws, folder):
    """Gather the parts into the three files."""
    conditions, ids = sampler.CONDITIONS, study.image_ids
    n = len(ids), len(study.subjects)
    shape = (*n, len(conditions), n_draws)
    arrays = {name: np.empty(shape, np.float32) for name in SCORES}
    arrays |= {f"baseline_{name}": np.empty((*n, len(BASELINES)), np.float32) for name in SCORES}
    low_level = np.empty((*shape[1:3], N_SHUFFLES)), np.empty(shape[1:3])
    rng = np.random.default_rng([SEED, 4])
    chosen = np.sort(rng.choice(ids, min(N_PICTURES, len(ids)), replace=False))
    pictures = np.empty((len(chosen), *shape[1:3], PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    for s, subject in enumerate(tqdm(study.subjects, desc="gather", unit="subject")):
        for b, name in enumerate(BASELINES):
            part = store.load(study.path(subject, name, 0), ids)
            for key in SCORES:
                arrays[f"baseline_{key}"][:, s, b] = part[key]
        for k, condition in enumerate(conditions):
            for repeat in range(n_draws):
                part = store.load(study.path(subject, condition, repeat), ids)
                for key in SCORES:
                    arrays[key][:, s, k, repeat] = part[key]
            first = store.load(study.path(subject, condition, 0), ids)["images"]
            images = torch.from_numpy(first).permute(0, 3, 1, 2).float() / 255
            for into, values in zip(low_level, shuffle(study.originals, images), strict=True):
                into[s, k] = values
            small = F.interpolate(images[np.isin(ids, chosen)], PICTURE_SIZE, mode="area")
            pictures[:, s, k] = (small * 255).round().byte().permute(0, 2, 3, 1)
    provenance = {
        **study.description,
        "n_draws": n_draws,
        "axes": ["image", "subject", "condition or baseline", "drawing"],
        "subjects": study.subjects,
        "conditions": conditions,
        "baselines": BASELINES,
        "tolerance": TOLERANCE,
    }
    path = folder / f"6_reconstruct_images-{study.root.name}.npz"
    store.save(path, provenance=provenance, image_ids=ids, **arrays)
    store.save(
        path.with_stem(f"{path.stem}-shuffles"),
        provenance=provenance, shuffled=low_level[0], unshuffled=low_level[1],
    )  # fmt: skip
    store.save(
        path.with_stem(f"{path.stem}-pictures"),
        provenance=provenance, image_ids=chosen, pictures=pictures,
    )  # fmt: skip
    return path


def shuffle(originals, images):
    """Identify after shuffling (N_SHUFFLES,) and as they are: low-level, mean of both features."""
    shuffled, unshuffled = 0, 0
    for name, feature in LOW_LEVEL.items():
        pair = originals[name], feature(images)
        rng = np.random.default_rng([SEED, 5])  # the same shuffles for both features
        shuffled += metrics.shuffled_identification(*pair, rng, N_SHUFFLES) / len(LOW_LEVEL)
        unshuffled += metrics.identification(*pair).mean() / len(LOW_LEVEL)
    return shuffled, unshuffled


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, help="only so many test images, drawn at random; "
                        "the product of such a slice is left in the cache")  # fmt: skip
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the parts")
    args = parser.parse_args()
    shard, n_shards = map(int, args.shard.split("/"))
    preset = presets.get()
    study = Study(preset, preset.open(), args.images)
    drawn = [(name, repeat) for repeat in range(args.draws) for name in sampler.CONDITIONS]
    names = [*drawn, *((name, 0) for name in BASELINES if name != "shuffled_pairs")]
    # Shuffled pairs last: they need decoders of their own.
    names.append(("shuffled_pairs", 0))
    parts = [(subject, *name) for subject in study.subjects for name in names]
    todo = [part for part in parts[shard::n_shards] if not study.path(*part).exists()]
    for part in tqdm(todo, desc="parts", unit="part"):
        study.run(*part)
    left = sum(not study.path(*part).exists() for part in parts)
    if left:
        print(f"{left} parts are left to the other shards.")
        return
    is_slice = args.images or args.draws < N_DRAWS
    print("wrote", write_product(study, args.draws, study.folder if is_slice else products.RESULTS))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
