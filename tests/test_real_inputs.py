"""Tests on data made by others, which lie beside the project and are not part of it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import spearmanr

from latentcortex import encoding, metrics
from latentcortex.features import decode_latents, encode_images
from latentcortex.ridge import Ridge

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def real_input(name):
    if not (DATA / name).exists():
        pytest.skip(f"real input {name} is not there: expected in ../shared/data of the project")
    return DATA / name


def photographs(size, every=1):
    """Read COCO's photographs, cropped to the centre square and resized, (n, 3, size, size).

    Bilinearly: the filter decides how well they survive an autoencoder, because most squares are
    smaller than 512 pixels. The sharper Lanczos filter leaves 1.5 dB less.
    """
    paths = sorted((real_input("coco_cc") / "images").glob("*.jpg"))
    assert len(paths) == 84
    images = []
    for path in paths[::every]:
        with Image.open(path) as photograph:
            width, height = photograph.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            pixels = photograph.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
        images.append(torch.from_numpy(np.array(pixels)).permute(2, 0, 1) / 255)
    return torch.stack(images)


@pytest.fixture(scope="module")
def taesd():
    """TAESD, the distilled VAE of Stable Diffusion 1.x."""
    folder = real_input("taesd")
    encoder = load_file(folder / "taesd_encoder.safetensors")
    state = {f"encoder.layers.{key}": value for key, value in encoder.items()}
    for key, value in load_file(folder / "taesd_decoder.safetensors").items():
        index, rest = key.split(".", maxsplit=1)
        state[f"decoder.layers.{int(index) - 1}.{rest}"] = value
    vae = AutoencoderTiny()
    vae.load_state_dict(state)
    return vae.float().eval().requires_grad_(False)


def categories_told(n_noise=0, unit=1.0, **settings):
    """Return how often ridge names the category of Haxby et al. (2001) in a run never fitted.

    One penalty is shared by the 8 categories and by `n_noise` targets of pure noise.
    """
    with np.load(real_input("haxby_slice") / "haxby_slice.npz") as data:
        patterns, category, run = data["patterns"], data["category"], data["run"]
    one_hot = (category[:, None] == np.unique(category)).astype(np.float32)
    noise = unit * np.random.default_rng(0).standard_normal((len(run), n_noise))
    targets = np.hstack([one_hot, noise]).astype(np.float32)
    correct = []
    for held_out in np.unique(run):
        train, test = run != held_out, run == held_out
        # The default grid; inner folds over runs.
        ridge = Ridge(cv=11, alpha_per_target=False, **settings)
        ridge.fit(patterns[train], targets[train], groups=run[train])
        predicted = ridge.predict(patterns[test])[:, :8]
        correct.extend(predicted.argmax(1) == one_hot[test].argmax(1))
    return np.mean(correct)


def test_ridge_tells_categories_apart_in_real_fmri():
    """One slice: 8 categories; chance is 0.125."""
    assert categories_told() >= 0.70


def test_noisy_targets_hardly_move_the_penalty_that_real_categories_share():
    """500 targets of noise next to the 8 categories, nearly constant or as large as they."""
    for unit in (0.01, 0.33):
        found = {
            criterion: categories_told(500, unit, zscore=True, criterion=criterion)
            for criterion in ("predicted", "variance_weighted", "uniform_average")
        }
        print(f"\ncategories told with 500 targets of noise of deviation {unit}: {found}")
        assert found["predicted"] >= 0.6
        assert found["uniform_average"] < found["predicted"] - 0.1
    # Units decide where errors are added up.
    assert found["variance_weighted"] < found["predicted"] - 0.1


def test_photographs_survive_the_autoencoder_of_stable_diffusion(taesd):
    """At 512 pixels, where a photograph takes seconds on two cores: every fourth of the 84 is
    taken, all with LATENTCORTEX_ALL_PHOTOGRAPHS=1."""
    every = 1 if os.environ.get("LATENTCORTEX_ALL_PHOTOGRAPHS") == "1" else 4
    images = photographs(512, every)
    latents = encode_images(taesd, images, batch_size=4)
    assert latents.shape == (len(images), 4, 64, 64)
    decoded = decode_latents(taesd, latents, batch_size=4).clamp(0, 1)
    psnr = -10 * torch.log10((decoded - images).square().mean(dim=(1, 2, 3)))
    print(f"\nTAESD at 512 px: {psnr.mean():.2f} dB over {len(images)} photographs")
    assert psnr.mean() >= 26


def responses_to_pixels(images, rng, n_voxels=2000, ncsnr=0.45, n_repeats=3):
    """Simulate voxels that see a blurred patch of a photograph: responses (n, n_voxels).

    Half of them weigh luminance and two opponent colours, half the contrast of luminance, within a
    Gaussian receptive field. The signal has the deviation `ncsnr`, the noise of a trial 1.
    """
    x = torch.nn.functional.interpolate(images, (64, 64), mode="area").double().numpy()
    red, green, blue = x.transpose(1, 0, 2, 3)
    luminance = x.mean(1)
    contrast = sum(np.abs(np.gradient(luminance, axis=axis)) for axis in (1, 2))
    maps = np.stack([luminance, red - green, blue - (red + green) / 2, contrast], axis=1)
    maps = (maps - maps.mean(axis=(0, 2, 3), keepdims=True)) / maps.std((0, 2, 3), keepdims=True)
    weights = rng.standard_normal((n_voxels, 4))
    weights[::2, 3], weights[1::2, :3] = 0, 0
    rows, columns = np.mgrid[:64, :64] + 0.5
    row, column = rng.uniform(0, 64, (2, n_voxels, 1, 1))
    width = rng.uniform(2, 8, (n_voxels, 1, 1))
    fields = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    fields /= fields.sum(axis=(1, 2), keepdims=True)
    signal = np.einsum("nchw,vhw,vc->nv", maps, fields, weights, optimize=True)
    signal *= ncsnr / signal.std(axis=0)
    noise = rng.standard_normal((n_repeats, *signal.shape)).mean(axis=0)
    return (signal + noise).astype(np.float32)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """AlexNet's real convolutions, where the protocols look for them."""
    folder = tmp_path_factory.mktemp("weights")
    path = real_input("alexnet_conv") / "alexnet_conv.safetensors"
    shutil.copy(path, folder / "alexnet.safetensors")
    return {"alexnet": metrics.load_network("alexnet", folder)}


# AlexNet(2) and AlexNet(5) of Brain-Diffuser's protocol, at 224 pixels.
ALEXNET = metrics.Protocol("alexnet", "", metrics.PROTOCOLS["brain-diffuser"].scores[2:4])


def alexnet_layers(images, networks):
    """Compute AlexNet(2) and AlexNet(5) of photographs, each (84, n_features)."""
    found = metrics.extract(ALEXNET, images, networks)
    return {layer: values for (_, _, layer), values in found.items()}


def test_photographs_are_identified_from_responses_to_their_pixels(taesd, networks):
    """Decode z of real photographs from simulated responses, each from the others: no photograph
    trains its own decoder. Beside it what the training latents can express of the truth at all."""
    images = photographs(128)
    z = encode_images(taesd, images).flatten(1).numpy()
    betas = responses_to_pixels(images, np.random.default_rng(0))
    folds = np.random.default_rng(1).permutation(len(z)) % 12
    decoded, in_span = np.empty_like(z), np.empty_like(z)
    for fold in range(12):
        train, test = folds != fold, folds == fold
        ridge = Ridge(cv="gcv", zscore=True).fit(betas[train], z[train])
        decoded[test] = ridge.predict(betas[test])
        mean = z[train].mean(axis=0)
        basis = np.linalg.svd(z[train] - mean, full_matrices=False)[2][: train.sum() - 1]
        in_span[test] = mean + (z[test] - mean) @ basis.T @ basis
    of_originals, found = alexnet_layers(images, networks)["features.4"], {}
    for name, latents in {"decoded": decoded, "in the training span": in_span}.items():
        latents = torch.from_numpy(latents).unflatten(1, (4, 16, 16))
        made = decode_latents(taesd, latents).clamp(0, 1)
        scores = metrics.identification(of_originals, alexnet_layers(made, networks)["features.4"])
        found[name] = metrics.bootstrap_mean(scores, np.random.default_rng(2))
        print(f"\n84 photographs, {name}: {found[name]}")
    assert found["decoded"].mean >= 0.70 and found["decoded"].low > 0.6
    assert found["in the training span"].mean > found["decoded"].mean


DIRECTIONS = ("reconstruction", "original")


def test_round_trips_of_photographs_are_all_identified(taesd, networks):
    images = photographs(256)
    decoded = decode_latents(taesd, encode_images(taesd, images, 8), 8).clamp(0, 1)
    found = metrics.score(ALEXNET, images, decoded, networks)
    assert list(found) == ["AlexNet(2)", "AlexNet(5)"]
    true, pred = (alexnet_layers(x, networks) for x in (images, decoded))
    for layer in true:
        for direction in DIRECTIONS:
            scores = metrics.identification(true[layer], pred[layer], direction)
            assert (scores == 1).all(), (layer, direction)


def test_the_mean_photograph_is_identified_in_exactly_one_half(networks):
    images = photographs(128)
    same = torch.from_numpy(metrics.mean_image(images, len(images))).float()
    true, pred = (alexnet_layers(x, networks) for x in (images, same))
    for layer in true:
        by_drawing, by_original = (
            metrics.identification(true[layer], pred[layer], direction) for direction in DIRECTIONS
        )
        # Each original finds all drawings alike; the one drawing finds one original nearest.
        np.testing.assert_array_equal(by_original, 0.5)
        assert by_drawing.mean() == pytest.approx(0.5, abs=1e-12)
        assert by_drawing.max() == 1 and by_drawing.min() == 0


def test_identification_never_rises_with_growing_blur(networks):
    images = photographs(128)
    true, curves = alexnet_layers(images, networks), {}
    for sigma in (0, 1, 2, 4, 8, 16, 32):
        softer = torch.from_numpy(metrics.blurred(images, sigma)).float().clamp(0, 1)
        for layer, pred in alexnet_layers(softer, networks).items():
            for direction in DIRECTIONS:
                scores = metrics.identification(true[layer], pred, direction)
                curves.setdefault((layer, direction), []).append(scores.mean())
    for key, curve in curves.items():
        print(f"\nblur of photographs, {key}: {np.round(curve, 3)}")
        assert curve[0] == 1 and (np.diff(curve) <= 0).all() and curve[-1] < 1


def test_the_two_directions_are_the_rows_and_columns_of_one_matrix(networks):
    images = photographs(128)
    softer = torch.from_numpy(metrics.blurred(images, 8)).float().clamp(0, 1)
    true, pred = (alexnet_layers(x, networks)["features.4"] for x in (images, softer))
    r = np.corrcoef(true.astype(float), pred.astype(float))[:84, 84:]  # originals x drawings
    columns, rows = (metrics.identification(true, pred, direction) for direction in DIRECTIONS)
    np.testing.assert_allclose(columns, (r < np.diag(r)).sum(0) / 83, atol=1e-12)
    np.testing.assert_allclose(rows, (r < np.diag(r)[:, None]).sum(1) / 83, atol=1e-12)
    assert abs(columns.mean() - rows.mean()) > 0.01


def recovered_shares(spaces, betas, fold):
    """Return by method how far z leads over colours in each voxel, from images that were never fitted."""
    ids, n_folds, encoder = np.arange(len(betas)), fold.max() + 1, encoding.VoxelwiseEncoder()
    candidates = np.linspace(0, 1, 9)
    banded = encoding.BandedEncoder(np.stack([candidates, 1 - candidates], 1))
    alone = {name: np.empty_like(betas) for name in spaces}
    left, stacked, chosen = {name: np.empty_like(betas) for name in spaces}, [], []
    parts, joint = np.empty((2, *betas.shape), np.float32), np.empty_like(betas)
    for k in range(n_folds):
        train, test = fold != k, fold == k
        old, new = ({name: of[rows] for name, of in spaces.items()} for rows in (train, test))
        arguments = betas[train], ids[train]
        for name, other in (("z", "colours"), ("colours", "z")):
            alone[name][test], left[other][test] = encoding.residual_method(
                old[name], old[other], *arguments, new[name], new[other]
            )
        banded.fit(old, *arguments)
        parts[:, test] = banded.predict(new, ids[test], split=True)
        joint[test] = parts[:, test].sum(0) + banded.intercept_
        chosen.append(banded.share_[0])
        held_out = [encoding.held_out_predictions(encoder, of, *arguments) for of in old.values()]
        stacked.append(encoding.stacking_weights(np.stack(held_out), betas[train])[0])
    scores = [encoding.out_of_sample_r2(of, betas) for of in (joint, *alone.values())]
    unique_z, unique_colours, _ = encoding.unique_and_shared(*scores)
    r = {name: encoding.correlation(of, betas) for name, of in alone.items()}
    r_left = {
        name: encoding.correlation(left[name], betas - alone[other])
        for name, other in (("z", "colours"), ("colours", "z"))
    }
    return {
        "product measure": np.subtract(*encoding.product_measure(parts, betas)),
        "relative weights": np.subtract(*encoding.relative_weights(parts, betas)),
        "unique": unique_z - unique_colours,
        "share of penalty": np.mean(chosen, axis=0),
        "stacking": np.mean(stacked, axis=0),
        "difference of r": encoding.difference_of_r(*alone.values(), betas),
        "residual, colours first": r_left["z"] - r["colours"],
        "residual, z first": r["z"] - r_left["colours"],
    }


def test_a_known_mixture_of_latents_and_colours_is_recovered_from_photographs(taesd):
    """300 voxels: a share m of their signal follows z, the rest the mean colours of 8 x 8 cells.

    Where a method finds nothing, every order of the voxels is as likely, and a rank correlation has the
    deviation 1 / sqrt(299). Five of these are asked of every method but one. z knows the colours, so a
    model of z leaves little for colours to explain: with z first, the residual method can't rank.
    The measures that divide one joint model beat the difference of two single models, to which both
    spaces bring what they share, and none beats the correlation with the true parts.
    """
    images, rng = photographs(128), np.random.default_rng(0)
    spaces = {"z": encode_images(taesd, images).flatten(1).numpy(), "colours": metrics.colour_means(images)}
    spaces = {name: (of - of.mean(0)) / of.std(0) for name, of in spaces.items()}
    share = rng.uniform(0, 1, 300)
    true_parts = [of @ rng.standard_normal((of.shape[1], 300)) for of in spaces.values()]
    true_parts = [(part - part.mean(0)) / part.std(0) for part in true_parts]
    signal = np.sqrt(share) * true_parts[0] + np.sqrt(1 - share) * true_parts[1]
    betas = (2 * signal / signal.std(0) + rng.standard_normal(signal.shape)).astype(np.float32)
    spaces = {name: of.astype(np.float32) for name, of in spaces.items()}
    found = recovered_shares(spaces, betas, rng.permutation(84) % 12)
    found = {name: spearmanr(share, of).statistic for name, of in found.items()}
    best = spearmanr(share, encoding.difference_of_r(*np.float32(true_parts), betas)).statistic
    print(f"\nrank correlation with the planted share, true parts {best:.2f}: ", end="")
    print(", ".join(f"{name} {rho:.2f}" for name, rho in found.items()))
    chance = 1 / np.sqrt(299)
    wrong_order = found.pop("residual, z first")
    assert min(found.values()) > 5 * chance and max(found.values()) < best
    assert wrong_order < min(found.values()) - 5 * chance
    for name in ("product measure", "relative weights"):
        assert found[name] > found["difference of r"]
