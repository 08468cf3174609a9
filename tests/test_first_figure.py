"""From nothing to a figure by the commands of chapter 16, typed in an empty folder, with an installed wheel.

Run by ``make test-real``. The commands are read from the page. Three things differ: nothing is installed or
downloaded, because stand-ins lie where a download would put them; stand-ins of Stable Diffusion are added to
the settings; and an array has two tasks in place of eight.
"""

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from standins import brain, diffusion, judges, laion
from test_wheel import python, wheel

from latentcortex import nsd

__all__ = ["python", "wheel"]
CLONE = Path(__file__).resolve().parents[1]
PAGE = json.loads((CLONE / "book/16_run_the_real_study.ipynb").read_text(encoding="utf-8"))
TEXT = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "markdown")
SMALL = """
model = "./diffusion-8"
revision = "none"
guide = "./judges/guide"
judge = "./judges"
image_size = 64
latent_shape = [4, 8, 8]
n_steps = 10
batch_size = 64
"""
pytestmark = pytest.mark.skipif(
    "LATENTCORTEX_TEST_REAL" not in os.environ, reason="takes some minutes: make test-real"
)


def blocks(heading, language="bash"):
    """Code blocks of a section of the page."""
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def as_run(block):
    """The lines of a block, with what can't be done here left out."""
    for line in block.splitlines():
        if line.startswith("pip install") or "--accept-terms" in line:
            continue
        line = line.replace("/shared/latentcortex", "$PWD/shared").replace("--array=0-7", "--array=0-1")
        if " download " in line:
            line += " || test $? = 3"  # the terms were not accepted
        yield line
        if made := re.search(r"> (\w+\.toml)$", line):
            yield f"cat small.toml >> {made[1]}"


@pytest.fixture(scope="module")
def shelf(python, tmp_path_factory):
    """The stand-ins of networks, and the commands of the wheel."""
    folder = tmp_path_factory.mktemp("shelf")
    diffusion.write_folder(folder / "diffusion-8", 8)
    judges.write_weights(folder / "judges")
    (folder / "small.toml").write_text(SMALL)
    commands = {
        "latentcortex": f'exec {python} -m latentcortex.command "$@"',
        "python": f'exec {python} "$@"',
        "jupyter": f'shift\nexec {python} -m nbconvert "$@"',
        # Tasks one after the other, as a cluster with one node. They print into a file; it prints a number.
        "sbatch": "while [[ $1 == --* ]]; do [[ $1 == --array=* ]] && range=${1#--array=}; shift; done\n"
        "for task in $(seq ${range%-*} ${range#*-}); do\n"
        "SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_MIN=${range%-*} "
        'SLURM_ARRAY_TASK_COUNT=$((${range#*-} - ${range%-*} + 1)) bash "$@" >> slurm.log || exit 1\ndone\n'
        "echo 7",
    }
    (folder / "bin").mkdir()
    for name, text in commands.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    return folder


@pytest.fixture
def desk(shelf, tmp_path):
    """An empty folder, but for the networks and the commands."""
    for path in shelf.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def typed(desk, *lines):
    """Type lines into a shell in the folder; return what they print."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("LATENTCORTEX")}
    environment = {
        **kept,
        "PATH": f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LATENTCORTEX_CACHE": str(desk / "cache"),
        "HF_HUB_OFFLINE": "1",
        # Templates of nbconvert, which lies in another environment than the wheel.
        "JUPYTER_PATH": str(Path(sysconfig.get_path("data"), "share/jupyter")),
    }
    script = "set -e\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_a_student_with_colab_gets_from_the_page_to_figures(desk):
    brain.write_tree(desk / "nsd", {"subj01": 6})
    (block,) = blocks("Path 1: a free Colab machine")
    printed = typed(desk, *as_run(block))
    assert "To fetch: 55 files, about 536.4 MB" in printed and "Can run: 02." in printed
    page = (desk / "pages/02_estimate_the_noise_ceiling.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") >= 3


def test_a_researcher_with_a_gpu_gets_a_plan_and_the_verdicts_of_the_kit(desk):
    laion.write_folder(desk / "laion")
    first, second = blocks("Path 2: one GPU of your own")
    printed = typed(desk, *(line for line in as_run(second) if not line.startswith("latentcortex run")))
    assert "Written to" in printed and "Can run: 02, 05." in printed
    settings = 'export LATENTCORTEX_PRESET="$PWD/laion.toml"'
    plan, *rest = as_run(first)
    assert "eight H100" in typed(desk, settings, plan.replace("1 2 5 7", "1 3"))
    assert rest[0] == as_run_of(second)  # the same command on both data sets
    printed = typed(desk, settings, f"{rest[0]} --rehearse", *rest[1:])
    # Planted: the ventral region answers to things that captions name. z of an untrained VAE holds little.
    assert re.search(r"^6b +confirmed", printed, re.MULTILINE)
    assert re.search(r"^ch16_replicate_figures-laion-fmri\S* .* yes$", printed, re.MULTILINE)


def as_run_of(block):
    return next(line for line in as_run(block) if line.startswith("latentcortex run"))


def test_a_cluster_makes_all_shares(desk):
    laion.write_folder(desk / "laion")
    _, second = blocks("Path 2: one GPU of your own")
    typed(desk, *(line for line in as_run(second) if not line.startswith("latentcortex run")))
    (block,) = blocks("Path 3: a cluster")
    lines = [line.replace("--repeats 5", "--repeats 1") for line in as_run(block)]
    lines = [re.sub("(fill_kit|ch16_replicate_figures)", r"\1 --rehearse", line) for line in lines]
    typed(desk, 'export LATENTCORTEX_PRESET="$PWD/laion.toml"', *lines)
    waits = [line.count("--dependency=afterok:$job") for line in lines if "sbatch" in line]
    assert waits == [0, 1, 1, 1]  # each reads files of the one before
    printed = (desk / "slurm.log").read_text()
    assert "latents: 280 images in 3 files" in printed
    assert "240 drawings in 6 parts are kept." in printed  # 40 images, 3 conditions, 2 subjects
    assert "18 parts are kept" in printed and re.search(r"^6b +confirmed", printed, re.MULTILINE)


def test_somebody_with_a_folder_of_their_own_gets_scores_and_a_tree(desk, rng):
    from PIL import Image

    for name, noise in (("originals", 0), ("reconstructions", 40)):
        (desk / name).mkdir()
        for k in range(12):
            picture = np.random.default_rng(k).integers(0, 256, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
            picture = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(desk / name / f"image_{k:04d}.png")
    (block,) = blocks("A folder of your own")
    typed(desk, *as_run(block))
    assert "PixCorr" in (desk / "scores/scores.md").read_text() and (desk / "scores/scores.png").is_file()
    trials = np.repeat(np.arange(240), 2)
    rng.shuffle(trials)
    signal = rng.normal(size=(240, 60))
    np.savez(
        desk / "my_data.npz",
        betas=(1.5 * (signal[trials] + rng.normal(size=(480, 60)))).astype(np.float32),
        image_ids=trials,
        sessions=np.repeat([1, 2], 240),
        images=rng.integers(0, 256, (240, 64, 64, 3), dtype=np.uint8),
        captions=np.array([f"a picture of thing {k % 7}" for k in range(240)]),
        shared=np.arange(40),
        is_early=np.arange(60) < 30,
    )
    (snippet,) = blocks("A folder of your own", "python")
    (desk / "mine.py").write_text(snippet)
    settings = 'base = "sd14"\ndata = "./my-tree"\nsubjects = [1]\nspace = "func1pt8mm"\n'
    (desk / "own.toml").write_text(settings + SMALL)
    export = 'export LATENTCORTEX_PRESET="$PWD/own.toml"'
    printed = typed(desk, "python mine.py", export, "latentcortex check --chapters 5")
    assert "Can run: 05." in printed and len(nsd.trials(desk / "my-tree", "subj01")) == 480
    page = "pages/05_decode_latents"
    typed(desk, export, "latentcortex student pages", f"jupyter nbconvert --to html --execute {page}.ipynb")
    assert (desk / f"{page}.html").read_text(encoding="utf-8").count("data:image/png") >= 1
