"""Named sets of scores: what they ask for, and that they compute what their sources compute."""

import tracemalloc

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.transforms import v2

from latentcortex import metrics
from latentcortex.metrics.networks import Network, View
from latentcortex.mini.networks import load_instruments


@pytest.fixture
def images(rng):
    smooth = metrics.blurred(rng.random((6, 3, 64, 64)), 2)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


@pytest.fixture(scope="module")
def alexnet_folder(tmp_path_factory):
    """Torchvision's own AlexNet without training: only its convolutions are written."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    module = torchvision.models.alexnet(weights=None)
    state = {key: v for key, v in module.state_dict().items() if key.startswith("features")}
    save_file(state, folder / "alexnet.safetensors")
    return folder, module.eval()


def names(protocol):
    return [score.name for score in metrics.PROTOCOLS[protocol].scores]


def test_both_published_protocols_have_the_eight_scores():
    eight = ["PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)", "Inception", "CLIP", "EfficientNet", "SwAV"]
    assert names("mindeye2") == names("brain-diffuser") == eight
    assert len(names("takagi")) == 7


def test_the_protocols_differ_where_their_sources_do():
    of = {name: {s.name: s for s in metrics.PROTOCOLS[name].scores} for name in metrics.PROTOCOLS}
    sizes = {"AlexNet(2)": 256, "Inception": 342, "CLIP": 224, "EfficientNet": 255, "SwAV": 224}
    for name, size in sizes.items():
        assert of["mindeye2"][name].view.size == size
        assert of["brain-diffuser"][name].view.size == 224
    assert of["mindeye2"]["EfficientNet"].network != of["brain-diffuser"]["EfficientNet"].network
    assert metrics.PROTOCOLS["mindeye2"].first.size == 256
    assert all(score.direction == "original" for score in of["takagi"].values())
    assert metrics.PROTOCOLS["takagi"].repeated


# (network, layer, size, mode, antialias, cropped, normalised as, direction), after the sources
RESNET_LIKE = {
    "mindeye2": [
        ("alexnet", "features.4", 256),
        ("alexnet", "features.11", 256),
        ("inception_v3", "avgpool", 342),
        ("clip_vit_l_14", "", 224),
        ("efficientnet_b1_v2", "avgpool", 255),
        ("swav_resnet50", "avgpool", 224),
    ],
    "brain-diffuser": [
        ("alexnet", "features.4", 224),
        ("alexnet", "features.11", 224),
        ("inception_v3", "avgpool", 224),
        ("clip_vit_l_14", "", 224),
        ("efficientnet_b1_v1", "avgpool", 224),
        ("swav_resnet50", "avgpool", 224),
    ],
    "takagi": [
        ("inception_v3", "avgpool", 299),
        ("alexnet", "features.5", 299),
        ("alexnet", "features.12", 299),
        ("alexnet", "classifier.5", 299),
        ("clip_vit_l_14", "transformer.resblocks.5", 224),
        ("clip_vit_l_14", "transformer.resblocks.11", 224),
        ("clip_vit_l_14", "", 224),
    ],
}


@pytest.mark.parametrize("name", RESNET_LIKE)
def test_networks_layers_and_views_are_those_of_the_sources(name):
    scores = [score for score in metrics.PROTOCOLS[name].scores if score.network]
    found = [(score.network, score.layer, score.view.size) for score in scores]
    assert found == RESNET_LIKE[name]
    for score in scores:
        view, is_clip = score.view, score.network.startswith("clip")
        assert view.normalise == ("clip" if is_clip else "imagenet")
        assert view.antialias == (name != "mindeye2")
        assert view.crop == (name == "takagi")
        assert view.mode == ("bicubic" if name == "takagi" and is_clip else "bilinear")
        distance = score.network.startswith(("efficientnet", "swav"))
        assert score.compare == ("distance" if distance else "identification")
        assert score.direction == ("original" if name == "takagi" else "reconstruction")


def test_pixels_are_looked_at_in_the_sizes_of_the_sources():
    for name, mode, antialias in (("mindeye2", "bilinear", False), ("brain-diffuser", "bicubic", True)):
        for score in metrics.PROTOCOLS[name].scores[:2]:
            view = score.view
            assert (view.size, view.mode, view.antialias) == (425, mode, antialias)


@pytest.mark.parametrize("large", [False, True])
def test_alexnet_scores_equal_a_loop_over_torchvision(images, rng, alexnet_folder, large):
    """MindEye2's own steps, written out: resize to 256, features, one corrcoef for each pair."""
    folder, module = alexnet_folder
    if large:  # so that antialiasing would make a difference
        images = rng.random((6, 3, 320, 320))
    others = np.clip(images + rng.normal(0, 0.1, images.shape), 0, 1)
    networks = {"alexnet": metrics.load_network("alexnet", folder)}
    found = metrics.score(metrics.PROTOCOLS["mindeye2"], images, others, networks)
    assert list(found) == ["PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)"]

    steps = v2.Compose(
        [v2.Resize((256, 256), antialias=False), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    at_425 = v2.Compose([v2.Resize((256, 256), antialias=False), v2.Resize((425, 425), antialias=False)])
    pixels = [at_425(torch.from_numpy(x).float()).flatten(1) for x in (images, others)]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*pixels, strict=True)]
    np.testing.assert_allclose(found["PixCorr"], expected, atol=1e-5)
    for name, layer in {"AlexNet(2)": 5, "AlexNet(5)": 12}.items():
        with torch.inference_mode():
            true, pred = (
                module.features[:layer](steps(torch.from_numpy(x).float())).flatten(1)
                for x in (images, others)
            )
        r = np.corrcoef(true.double(), pred.double())[: len(images), len(images) :]
        expected = (r < np.diag(r)).sum(0) / (len(images) - 1)
        np.testing.assert_allclose(found[name], expected)


def test_images_are_brought_to_a_protocols_first_size_before_anything_else(images, alexnet_folder):
    folder, module = alexnet_folder
    score = metrics.Score("a", "identification", "alexnet", "features.4", View(96))
    protocol = metrics.Protocol("small first", "", (score,), first=View(40))
    network = metrics.load_network("alexnet", folder)
    found = metrics.extract(protocol, images, {"alexnet": network})[score.key]
    steps = v2.Compose([v2.Resize(40), v2.Resize(96)])
    with torch.inference_mode():
        expected = module.features[:5](steps(torch.from_numpy(images).float())).flatten(1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pixels_are_compared_at_the_size_that_the_protocol_asks_for(images, rng):
    others = np.clip(images + rng.normal(0, 0.1, images.shape), 0, 1)
    found = metrics.score(metrics.PROTOCOLS["brain-diffuser"], images, others, batch_size=4)
    resize = v2.Resize((425, 425), v2.InterpolationMode.BICUBIC, antialias=True)
    large = [resize(torch.from_numpy(x).float()).clamp(0, 1).numpy() for x in (images, others)]
    np.testing.assert_allclose(found["PixCorr"], metrics.pixcorr(*large), atol=1e-6)
    np.testing.assert_allclose(found["SSIM"], metrics.ssim(*large), atol=1e-5)


def test_takagi_averages_correlations_over_drawings(images, rng, alexnet_folder):
    drawings = np.clip(images[:, None] + rng.normal(0, 0.3, (6, 5, 3, 64, 64)), 0, 1)
    network = metrics.load_network("alexnet", alexnet_folder[0])
    protocol = metrics.PROTOCOLS["takagi"]
    found = metrics.score(
        metrics.Protocol("t", "", protocol.scores[1:3], repeated=True), images, drawings, {"alexnet": network}
    )["AlexNet pool 2"]
    seen = protocol.scores[1].view
    true = network(seen(torch.from_numpy(images).float()), ["features.5"])["features.5"]
    r = np.mean(
        [
            np.corrcoef(
                true, network(seen(torch.from_numpy(drawings[:, k]).float()), ["features.5"])["features.5"]
            )[:6, 6:]
            for k in range(5)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, (r < np.diag(r)[:, None]).sum(1) / 5, atol=1e-9)


def test_what_is_left_out_is_named():
    lacking = metrics.PROTOCOLS["mindeye2"].left_out(["alexnet"])
    assert lacking == {
        "Inception": "inception_v3",
        "CLIP": "clip_vit_l_14",
        "SwAV": "swav_resnet50",
        "EfficientNet": "efficientnet_b1_v2",
    }
    mini = metrics.PROTOCOLS["mini"]
    assert mini.left_out(load_instruments(), groups=[0], mean_image=[0]) == {}
    lacking = mini.left_out(load_instruments())
    assert lacking["centred PixCorr"] == "mean training image"
    assert lacking["AlexNet(2), same group"] == "groups"


def test_weights_that_are_not_there_are_not_fetched_unasked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"inception_v3\.safetensors.*allow the download"):
        metrics.load_network("inception_v3", tmp_path)
    with pytest.raises(ValueError, match="Networks: alexnet"):
        metrics.load_network("vgg", tmp_path)
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "inception_v3.safetensors")
    with pytest.raises(ValueError, match="are they of this network"):
        metrics.load_network("inception_v3", tmp_path)


def test_inception_is_told_to_transform_its_input(tmp_path):
    """Loaded from a file it must see what torchvision's own loading lets it see."""
    torch.manual_seed(0)
    module = torchvision.models.inception_v3(weights=None, init_weights=False)
    save_file(module.state_dict(), tmp_path / "inception_v3.safetensors")
    assert not module.transform_input
    assert metrics.load_network("inception_v3", tmp_path).module.transform_input


def test_a_layer_that_is_not_there_is_named(alexnet_folder):
    network = metrics.load_network("alexnet", alexnet_folder[0])
    with pytest.raises(ValueError, match=r"AlexNet has no layers \['classifier.5'\]"):
        network(torch.zeros(1, 3, 64, 64), ["features.4", "classifier.5"])


def test_networks_are_frozen_and_not_in_training(alexnet_folder):
    module = metrics.load_network("alexnet", alexnet_folder[0]).module
    assert not module.training and not any(p.requires_grad for p in module.parameters())


def test_the_small_alexnet_numbers_its_layers_from_the_picture_on(images):
    from latentcortex.mini.networks import load_alexnet

    alexnet, x = load_alexnet(), torch.from_numpy(images).float()
    found = load_instruments()["small_alexnet"](x, ["1", "2", "5"])
    values = (x - 0.5) * 4
    for k, convolution in enumerate(alexnet.convolutions, 1):
        values = convolution(values)
        if str(k) in found:
            np.testing.assert_allclose(found[str(k)], values, atol=1e-5)
    mini = {score.name: score for score in metrics.PROTOCOLS["mini"].scores}
    for k in range(1, 6):
        assert mini[f"AlexNet({k})"].layer == str(k)
    for k in (2, 5):
        assert mini[f"AlexNet({k}), by original"].direction == "original"
        assert mini[f"AlexNet({k}), same group"].same_group
        assert mini[f"AlexNet({k}), by original"].layer == str(k)


def test_features_of_as_many_drawings_are_asked_for(images):
    mini = metrics.PROTOCOLS["mini"]
    drawings = np.stack([images, images], axis=1)
    one = metrics.extract(mini, images)
    with pytest.raises(ValueError, match="each of 2 drawings, got 1"):
        metrics.score(mini, images, drawings, features_true=one, features_pred=[one])


def test_activations_in_place_do_not_change_what_was_kept():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module[0](x).flatten(1)
    torch.testing.assert_close(torch.from_numpy(Network(module)(x, ["0"])["0"]), expected)


def test_mini_scores_do_not_depend_on_the_batch_and_equal_images_are_perfect(images):
    mini, instruments = metrics.PROTOCOLS["mini"], load_instruments()
    more = {"groups": np.zeros(6), "mean_image": np.full((3, 64, 64), 0.5)}
    found = metrics.score(mini, images, images, instruments, **more)
    assert {name: set(np.round(values, 9)) for name, values in found.items()} == {
        score.name: {score.best} for score in mini.scores
    }
    other = metrics.blurred(images, 1)
    once = metrics.score(mini, images, other, instruments, **more)
    features = metrics.extract(mini, images, instruments)
    again = metrics.score(mini, images, other, instruments, **more, features_true=features, batch_size=4)
    for name in once:
        np.testing.assert_allclose(once[name], again[name], atol=1e-6, err_msg=name)


def test_several_drawings_are_averaged(images, rng):
    drawings = np.clip(images[:, None] + rng.normal(0, 0.2, (6, 2, 3, 64, 64)), 0, 1)
    mini, instruments = metrics.PROTOCOLS["mini"], load_instruments()
    both = metrics.score(mini, images, drawings, instruments)
    single = [metrics.score(mini, images, drawings[:, k], instruments) for k in range(2)]
    for name, values in both.items():
        np.testing.assert_allclose(values, (single[0][name] + single[1][name]) / 2, atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:4], "6 reconstructions"),
        (lambda x: x[:, :2], r"\(n, 3, h, w\)"),
        (lambda x: x * 255, "Divide bytes by 255"),
        (lambda x: np.where(np.arange(6)[:, None, None, None] == 2, np.nan, x), r"rows \[2\]"),
        (lambda x: np.where(np.arange(6)[:, None, None, None] == 3, 0.5, x), r"constant in rows"),
    ],
)
def test_bad_images_are_refused(images, spoil, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(metrics.PROTOCOLS["mindeye2"], images, spoil(images))


@pytest.mark.parametrize("protocol", ["mindeye2", "brain-diffuser", "mini"])
@pytest.mark.parametrize("grey", [0.1, 0.5, 0.7, 1.0])
def test_one_colour_is_refused_by_its_row_though_resizing_makes_it_vary(images, protocol, grey):
    flat = images.copy()
    flat[4] = grey
    networks = load_instruments() if protocol == "mini" else None
    with pytest.raises(metrics.UndefinedCorrelation, match=r"reconst.* constant in rows \[4\]"):
        metrics.score(metrics.PROTOCOLS[protocol], images, flat, networks, batch_size=3)


def test_what_equals_the_mean_image_has_no_centred_correlation(images):
    mini, more = metrics.PROTOCOLS["mini"], {"mean_image": images[4], "batch_size": 3}
    with pytest.raises(metrics.UndefinedCorrelation, match=r"originals is constant in rows \[4\]"):
        metrics.score(mini, images, np.roll(images, 1, axis=0), **more)


def test_images_are_checked_without_a_copy_of_them():
    images = torch.zeros(40, 3, 64, 64)
    tracemalloc.start()
    try:
        metrics.extract(metrics.PROTOCOLS["takagi"], images)
        assert tracemalloc.get_traced_memory()[1] < images.numpy().nbytes / 10
    finally:
        tracemalloc.stop()


def test_a_single_image_can_be_compared_but_not_identified(images):
    pixels = metrics.score(metrics.PROTOCOLS["mindeye2"], images[:1], images[:1])
    assert pixels["PixCorr"] == pytest.approx(1)
    with pytest.raises(ValueError, match="at least two images"):
        metrics.score(metrics.PROTOCOLS["mini"], images[:1], images[:1])
