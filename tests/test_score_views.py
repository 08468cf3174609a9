"""How images are brought to the networks of the published scores: as torchvision does it."""

import pytest
import torch
from torchvision.transforms import v2

from latentcortex.metrics.networks import View


def test_normalisation_is_that_of_the_models():
    import open_clip
    from torchvision.models import AlexNet_Weights

    transforms = AlexNet_Weights.IMAGENET1K_V1.transforms()
    x = torch.full((1, 3, 4, 4), 0.3)
    expected = v2.Normalize(transforms.mean, transforms.std)(x)
    torch.testing.assert_close(View(normalise="imagenet")(x), expected)
    constants = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    torch.testing.assert_close(View(normalise="clip")(x), v2.Normalize(*constants)(x))


@pytest.mark.parametrize("size", [40, 96])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_resizes_and_normalises_as_torchvision_does(rng, size, antialias):
    seen = View(size, antialias=antialias, normalise="imagenet")
    steps = v2.Compose(
        [
            v2.Resize((size, size), antialias=antialias),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    x = torch.from_numpy(rng.random((6, 3, 64, 64))).float()
    torch.testing.assert_close(seen(x), steps(x))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (48, 64), (97, 150)])
@pytest.mark.parametrize("size", [20, 29, 30])
def test_a_cropping_view_keeps_the_shape_of_things(rng, shape, size):
    wide = torch.from_numpy(rng.random((2, 3, *shape))).float()
    steps = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    torch.testing.assert_close(View(size, crop=True)(wide), steps(wide))
    assert View(size)(wide).shape == (2, 3, size, size)
