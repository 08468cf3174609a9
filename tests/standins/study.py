"""A real study in small: data, networks and a file of settings that builds on sd14."""

from pathlib import Path

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

model = "./diffusion"
revision = "none"
guide = "./judges/guide"
judge = "./judges"
# The real 512 pixels take minutes an image without a GPU. The U-Net is told by the size of what it gets.
image_size = 128
latent_shape = [4, 16, 16]
n_steps = 4
"""


def write_study(folder, space="fsaverage5"):
    """Write stand-ins of everything that a real study reads; return the path of its settings."""
    folder, on_disk = Path(folder), ON_DISK[space]
    brain.write_tree(folder / f"nsd-{space}", on_disk, space)
    diffusion.write_folder(folder / "diffusion")
    judges.write_weights(folder / "judges")
    path = folder / f"{space}.toml"
    subjects = [int(name.removeprefix("subj")) for name in on_disk]
    sessions = list(range(1, min(on_disk.values()) + 1))
    settings = _SETTINGS.format(data=f"nsd-{space}", subjects=subjects, sessions=sessions, space=space)
    path.write_text(settings)
    return path
