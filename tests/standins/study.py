"""A real study in small: data, networks and a file of settings that builds on sd14."""

from pathlib import Path

from latentcortex import sampler
from standins import brain, diffusion, judges

# Sessions by subject. Surfaces of all vertices take 0.2 GB a session.
ON_DISK = {
    "fsaverage5": {"subj01": 6, "subj02": 5},
    "fsaverage": {"subj01": 3, "subj02": 3},
    "func1pt8mm": {"subj01": 6, "subj02": 5},
}
_SETTINGS = """base = "sd14"

data = "./{data}"
subjects = {subjects}
sessions = {sessions}
space = "{space}"

model = "./diffusion-{side}"
revision = "none"
guide = "./judges/guide"
judge = "./judges"
# The real 512 pixels take minutes an image without a GPU.
image_size = {size}
latent_shape = [4, {side}, {side}]
n_steps = 10
guided_share = 0.3
# As strong for each number of g as published: a layer of this guide has few of them.
feature_scale = {feature_scale}
# Networks so narrow take as long for four images as for sixteen.
batch_size = 16
"""


def write_study(folder, space="fsaverage5", size=64):
    """Write stand-ins of all that a real study reads; return the path of its settings.

    ``size`` is that of the model's images in pixels.
    """
    folder, on_disk = Path(folder), ON_DISK[space]
    brain.write_tree(folder / f"nsd-{space}", on_disk, space)
    side = size // 8
    diffusion.write_folder(folder / f"diffusion-{side}", side)
    judges.write_weights(folder / "judges")
    path = folder / f"{space}.toml"
    settings = {
        "data": f"nsd-{space}",
        "subjects": [int(name.removeprefix("subj")) for name in on_disk],
        "sessions": list(range(1, min(on_disk.values()) + 1)),
        "space": space,
        "feature_scale": sampler.equivalent_feature_scale(judges.LAYER_SIZE),
        "size": size,
        "side": side,
    }
    path.write_text(_SETTINGS.format(**settings))
    return path
