"""Guides against written-out loops, and what they refuse."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_clip_image_encoder

from latentcortex.features import encode_clip_layers
from latentcortex.sampler import (
    FeatureTargets,
    Guidance,
    brain_guide,
    colour_guide,
    equivalent_feature_scale,
    feature_guide,
)

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = [70_000, 3, 12]


@pytest.fixture(scope="module")
def encoder():
    return tiny_clip_image_encoder()


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def targets_of(own, **changes):
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    layers = encode_clip_layers(own, images, (1, 2, 3))
    # Layers of unlike sizes, so that weights by their norms differ.
    layers = {k: g * torch.tensor([1.0, 3.0, 0.5])[:, None, None] * k for k, g in layers.items()}
    return FeatureTargets(**({"layers": layers, "image_ids": IDS, "encoder": "tiny"} | changes))


# What is computed


@pytest.mark.parametrize("weights", ["published", "mean", {1: 0.25, 3: 2.0}])
def test_the_loss_of_features_is_the_sum_written_out(encoder, images, weights):
    targets = targets_of(encoder)
    got = feature_guide(encoder, targets, weights)(images, torch.tensor(IDS))
    found = encode_clip_layers(encoder, images, (1, 2, 3))
    for i in range(3):
        lengths = {k: float(np.sqrt((targets.layers[k][i].numpy() ** 2).sum())) for k in (1, 2, 3)}
        total = sum(1 / length for length in lengths.values())
        expected = 0.0
        for k in (1, 2, 3):
            a = {1: 1.5, 2: 1.2, 3: 1.0}[k]
            w = {"published": a / lengths[k] / total, "mean": 1 / 3}.get(str(weights))
            w = weights.get(k, 0.0) if w is None else w
            squares = (found[k][i].numpy() - targets.layers[k][i].numpy()) ** 2
            expected += w * squares.sum() / squares.size
        assert got[i].item() == pytest.approx(expected, rel=1e-5)


def test_the_images_own_features_have_no_loss_and_no_gradient(encoder, images):
    layers = encode_clip_layers(encoder, images, (1, 2))
    guide = feature_guide(encoder, FeatureTargets(layers, IDS, "tiny"))
    images.requires_grad_()
    loss = guide(images, IDS)
    assert loss.max() < 1e-10
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    assert gradient.abs().max() < 1e-6


def test_targets_are_found_by_image_id_in_any_order_and_repeatedly(encoder, images):
    wanted = torch.tensor([12, 70_000, 12])
    by_row = [2, 0, 2]
    colours = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    betas = torch.randn(3, 5, generator=torch.Generator().manual_seed(4))

    def encode(images):
        return images.mean((1, 2, 3))[:, None].repeat(1, 5)

    for guide in (
        feature_guide(encoder, targets_of(encoder)),
        colour_guide(colours, IDS),
        brain_guide(encode, betas, IDS),
    ):
        together = guide(images, wanted)
        for k, row in enumerate(by_row):
            alone = guide(images[k : k + 1], torch.tensor(IDS[row : row + 1]))
            torch.testing.assert_close(together[k : k + 1], alone)
        with pytest.raises(ValueError, match="no row for 1 of the images asked for, such as 4"):
            guide(images, [12, 4, 3])


def test_the_loss_of_colours_is_the_mean_over_cells_written_out(images):
    colours = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    got = colour_guide(colours, IDS)(images, IDS)
    for i in range(3):
        squares = [
            (images[i, c, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean() - colours[i, c, y, x]) ** 2
            for c in range(3)
            for y in range(4)
            for x in range(4)
        ]
        assert got[i].item() == pytest.approx(float(np.mean(squares)), rel=1e-5)


def test_the_loss_of_responses_is_the_weighted_mean_over_voxels_written_out(images):
    generator = torch.Generator().manual_seed(4)
    filters, betas = (torch.randn(n, 5, generator=generator) for n in (768, 3))
    weights = [0.2, 0.0, 0.5, 1.0, 0.1]
    got = brain_guide(lambda x: x.flatten(1) @ filters, betas, IDS, weights)(images, IDS)
    for i in range(3):
        off = images[i].flatten() @ filters - betas[i]
        expected = sum(w * float(o) ** 2 for w, o in zip(weights, off, strict=True)) / 1.8
        assert got[i].item() == pytest.approx(expected, rel=1e-4)


def test_the_published_strength_is_7_8_for_each_number_of_a_layer(encoder, images):
    # A loss that averages over the numbers of a layer needs a strength as many times as large as
    # one that sums: 300,000 over 50 x 768 numbers is 7.8125 for each.
    assert equivalent_feature_scale(50 * 768) == 3e5
    assert equivalent_feature_scale(1) == 7.8125
    size = 5 * 12
    targets = targets_of(encoder)
    mean = feature_guide(encoder, targets, {1: 1.0})

    def total(images, _ids):
        found = encode_clip_layers(encoder, images, [1])[1]
        return (found - targets.layers[1]).square().sum((1, 2))

    noisy, abar = 0.1 * images, torch.tensor(0.4)
    corrections = [
        Guidance(guide, scale).correct(lambda z: 0.1 * z, noisy, abar, torch.tensor(IDS), 0, 500)[1]
        for guide, scale in ((mean, equivalent_feature_scale(size)), (total, 7.8125))
    ]
    assert corrections[0].abs().max() > 0.1
    torch.testing.assert_close(*corrections, rtol=1e-4, atol=1e-5)


def test_ids_of_every_kind_find_the_same_targets(encoder, images):
    own = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    expected = colour_guide(own, IDS)(images, [12, 3, 70_000])
    for kind in (np.array, torch.tensor, tuple, lambda ids: [np.int64(i) for i in ids]):
        found = colour_guide(own.numpy(), kind(IDS))(images, kind([12, 3, 70_000]))
        assert torch.equal(found, expected)
    targets = targets_of(encoder)
    arrays = targets_of(
        encoder, layers={k: g.numpy() for k, g in targets.layers.items()}, image_ids=np.array(IDS)
    )
    assert torch.equal(*(feature_guide(encoder, t)(images, IDS) for t in (targets, arrays)))


# What is refused


@pytest.mark.parametrize(
    ("changes", "weights", "message"),
    [
        ({"encoder": "ViT-B-32-quickgelu/openai"}, "published", "features of 'ViT-B-32.*'tiny'"),
        ({}, {1: 1.0, 4: 1.0}, r"layers \[1, 2, 3\], and \[4\] of the weights"),
        ({}, "strongest", "weights of"),
        ({"layers": {}}, "mean", r"layers \[\]"),
        ({"layers": {7: torch.zeros(3, 5, 12)}}, "mean", "blocks 1 to 3, got 7"),
        ({"layers": {1: torch.zeros(3, 4, 12)}}, "mean", r"as \(3, 5, 12\), got \(3, 4, 12\)"),
        ({"layers": {1: torch.zeros(3, 5, 16)}}, "mean", r"as \(3, 5, 12\), got \(3, 5, 16\)"),
        ({"layers": {1: torch.zeros(2, 5, 12)}}, "mean", r"as \(3, 5, 12\), got \(2, 5, 12\)"),
        ({"layers": {1: torch.full((3, 5, 12), torch.nan)}}, "mean", r"NaN.*rows \[0, 1, 2\]"),
        ({"image_ids": [3, 3, 12]}, "mean", "several rows for image 3"),
    ],
)
def test_features_that_are_not_the_guides_own_are_refused(encoder, changes, weights, message):
    with pytest.raises(ValueError, match=message):
        feature_guide(encoder, targets_of(encoder, **changes), weights)


def test_colours_and_responses_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"colours as \(3, 3, any, any\), got \(3, 1, 4, 4\)"):
        colour_guide(torch.zeros(3, 1, 4, 4), IDS)
    betas = torch.zeros(3, 5)
    with pytest.raises(ValueError, match=r"betas as \(3, any\), got \(2, 5\)"):
        brain_guide(None, betas[:2], IDS)
    betas[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"betas has NaN or infinite values in rows \[1\]"):
        brain_guide(None, betas, IDS)
    for weights in (np.ones(4), -np.ones(5), np.zeros(5)):
        with pytest.raises(ValueError, match="each of 5 voxels"):
            brain_guide(None, torch.zeros(3, 5), IDS, weights)
    for weights in (
        np.array([1, 1, np.inf, 1, 1]),
        np.array([1, 1, np.nan, 1, 1]),
        np.ma.masked_less(np.ones(5), 0),
    ):
        with pytest.raises(ValueError, match="each of 5 voxels|masked array"):
            brain_guide(None, torch.zeros(3, 5), IDS, weights)


def test_arguments_beside_the_targets_are_checked_too(encoder, images):
    for weights in ({1: float("nan")}, {1: 1.0, 3: float("inf")}):
        with pytest.raises(ValueError, match="finite weights by layer"):
            feature_guide(encoder, targets_of(encoder), weights)
    flat = {k: g.clone() for k, g in targets_of(encoder).layers.items()}
    flat[2][1] = 0
    with pytest.raises(ValueError, match=r"published weights.*rows \[1\].*Targets that are 0"):
        feature_guide(encoder, targets_of(encoder, layers=flat))
    colours = torch.rand(3, 3, 4, 4)
    with pytest.raises(ValueError, match=r"colours in \[0, 1\], got values from .* to 25\d"):
        colour_guide(255 - 9 * colours, IDS)
    for ids in ([70_000.0, 3.5, 12], [True, False, True], torch.tensor([[1], [2], [3]])):
        with pytest.raises(ValueError, match="image ids of colours as one whole number for each of 3 images"):
            colour_guide(colours, ids)
    with pytest.raises(ValueError, match="one whole number for each of 3 images, got torch.float32"):
        colour_guide(colours, IDS)(images, [70_000, 3.0, 12])
    guide = brain_guide(lambda x: x.mean((1, 2, 3))[:, None], torch.zeros(3, 5), IDS)
    with pytest.raises(ValueError, match=r"responses \(3, 5\), got \(3, 1\)"):
        guide(images, IDS)
    for size, published in ((0, 3e5), (1.5, 3e5), (60, float("nan")), (60, 0)):
        with pytest.raises(ValueError, match="layer_size as a whole number|published strength above 0"):
            equivalent_feature_scale(size, published)
