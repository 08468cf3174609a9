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
from latentcortex.mini.networks import load_instruments, readings


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
    eight = ["PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)", "Inception", "CLIP", "EfficientNet",
             "SwAV"]  # fmt: skip
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


@pytest.mark.parametrize("size", [40, 96])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_resizes_and_normalises_as_torchvision_does(images, size, antialias):
    seen = View(size, antialias=antialias, normalise="imagenet")
    steps = v2.Compose([
        v2.Resize((size, size), antialias=antialias),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    x = torch.from_numpy(images).float()
    torch.testing.assert_close(seen(x), steps(x))


def test_a_cropping_view_keeps_the_shape_of_things(rng):
    wide = torch.from_numpy(rng.random((2, 3, 40, 60))).float()
    steps = v2.Compose([v2.Resize(20, antialias=True), v2.CenterCrop(20)])
    torch.testing.assert_close(View(20, crop=True)(wide), steps(wide))
    assert View(20)(wide).shape == (2, 3, 20, 20)


def test_alexnet_scores_equal_a_loop_over_torchvision(images, rng, alexnet_folder):
    """MindEye2's own steps, written out: resize to 256, features, one corrcoef for each pair."""
    folder, module = alexnet_folder
    others = np.clip(images + rng.normal(0, 0.1, images.shape), 0, 1)
    networks = {"alexnet": metrics.load_network("alexnet", folder)}
    found = metrics.score(metrics.PROTOCOLS["mindeye2"], images, others, networks)
    assert list(found) == ["PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)"]

    steps = v2.Compose([
        v2.Resize((256, 256), antialias=False),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    for name, layer in {"AlexNet(2)": 5, "AlexNet(5)": 12}.items():
        with torch.inference_mode():
            true, pred = (module.features[:layer](steps(torch.from_numpy(x).float())).flatten(1)
                          for x in (images, others))  # fmt: skip
        r = np.corrcoef(true.double(), pred.double())[: len(images), len(images) :]
        expected = (r < np.diag(r)).sum(0) / (len(images) - 1)
        np.testing.assert_allclose(found[name], expected)


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
        metrics.Protocol("t", "", protocol.scores[1:3], repeated=True),
        images, drawings, {"alexnet": network},
    )["AlexNet pool 2"]  # fmt: skip
    seen = protocol.scores[1].view
    true = network(seen(torch.from_numpy(images).float()), ["features.5"])["features.5"]
    r = np.mean([
        np.corrcoef(true, network(seen(torch.from_numpy(drawings[:, k]).float()),
                                  ["features.5"])["features.5"])[:6, 6:]
        for k in range(5)
    ], axis=0)  # fmt: skip
    np.testing.assert_allclose(found, (r < np.diag(r)[:, None]).sum(1) / 5, atol=1e-9)


def test_what_is_left_out_is_named():
    lacking = metrics.PROTOCOLS["mindeye2"].left_out(["alexnet"])
    assert lacking == {
        "Inception": "inception_v3", "CLIP": "clip_vit_l_14", "SwAV": "swav_resnet50",
        "EfficientNet": "efficientnet_b1_v2",
    }  # fmt: skip
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
    again = metrics.score(mini, images, other, instruments, **more, features_true=features,
                          batch_size=4)  # fmt: skip
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


def test_f1_equals_scikit_learn(rng):
    from sklearn.metrics import f1_score

    true, pred = rng.random((2, 50, 10)) < 0.2
    expected = [f1_score(a, b, zero_division=1.0) for a, b in zip(true, pred, strict=True)]
    np.testing.assert_allclose(metrics.f1(true, pred), expected)
    assert metrics.f1(np.zeros((1, 3), bool), np.zeros((1, 3), bool)) == [1]
    with pytest.raises(ValueError, match="as bool"):
        metrics.f1(true.astype(int), pred)


def test_readings_bind_colours_and_places_to_kinds_that_are_there():
    kind = torch.tensor([[1.0, -1.0]])
    colour = torch.tensor([[[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]])
    answers = {"setting": torch.tensor([[0.0, 3.0]]), "kind": kind, "colour": colour}
    named = readings(answers)
    assert named["setting"].tolist() == [1]
    assert named["kinds"].tolist() == [[True, False]]
    assert named["colours"].tolist() == [[[False, True, False], [False] * 3]]
    assert "places" not in named


def test_retrieval_agrees_with_drawn_galleries(rng):
    """MindEye2's way: galleries drawn at random, cosine similarity, both directions."""
    true = rng.normal(size=(40, 12)) + 1
    pred = true + rng.normal(0, 1.2, true.shape)
    images, brains = metrics.retrieval(true, pred, n_images=10)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (true, pred)]
    hits = np.zeros((2, 4000))
    for k in range(4000):
        some = rng.choice(40, 10, replace=False)
        similar = unit[1][some] @ unit[0][some].T  # brain x image
        hits[0, k] = (similar.argmax(1) == np.arange(10)).mean()
        hits[1, k] = (similar.argmax(0) == np.arange(10)).mean()
    assert images.mean() == pytest.approx(hits[0].mean(), abs=0.01)
    assert brains.mean() == pytest.approx(hits[1].mean(), abs=0.01)
    assert abs(images.mean() - brains.mean()) > 1e-4
