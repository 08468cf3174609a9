"""The wheel alone, in an environment that knows no clone: it holds the products, and pages show them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = ("06_reconstruct_images", "09_measure_reconstructions", "10_encode_voxels")
EXECUTE = """
import sys
from pathlib import Path
import nbformat
from nbclient import NotebookClient

for path in map(Path, sys.argv[1:]):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=7200, resources={"metadata": {"path": "."}}).execute()
    nbformat.write(notebook, path.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of a wheel built from this clone, or rather from a copy: a build leaves files where it runs."""
    folder, copy = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source") / "copy"
    unneeded = shutil.ignore_patterns(".*", "_build*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unneeded)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(copy), *options, "--wheel-dir", str(folder)],
        check=True,
        cwd=folder,
    )
    return next(folder.glob("latentcortex-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter that has the wheel, and every other package of this environment, but not this clone."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder that is named in a .pth file is searched, and its own .pth files, the clone's, are not read.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(packages)]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True)
    return folder / "bin" / "python"


def run(python, folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_every_folder_of_the_package_is_in_the_list_of_packages():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in (ROOT / "src").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT / "src").parts) for folder in folders}
    beside = {"latentcortex.results", "latentcortex.data_scripts", "latentcortex.book"}
    assert set(listed) == names | beside


def test_the_wheel_holds_products_and_scripts_and_is_small(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("results", "*.npz"), ("data_scripts", "ch*.py")):
        files = {f"latentcortex/{folder}/{path.name}" for path in (ROOT / folder).glob(pattern)}
        assert files and files <= names
    viewer = {f"latentcortex/plotting/viewer{end}" for end in ("_scene.js", "_controls.js", ".js", ".css")}
    assert viewer <= names
    assert wheel.stat().st_size < 60e6


def test_the_wheel_holds_the_pages_of_the_book_and_nothing_else_of_it(wheel):
    archive = zipfile.ZipFile(wheel)
    infos = [i for i in archive.infolist() if i.filename.startswith("latentcortex/book/")]
    pages = {path.name for end in ("bib", "ipynb", "md") for path in (ROOT / "book").glob(f"*.{end}")}
    assert {info.filename for info in infos} == {f"latentcortex/book/{name}" for name in pages}
    for info in infos:
        if info.filename.endswith("ipynb"):  # an executed page would weigh more than all of them
            cells = json.loads(archive.read(info))["cells"]
            assert not any(cell.get("outputs") for cell in cells), info.filename
    assert sum(info.file_size for info in infos) < 40e3 * len(pages)


def test_the_wheel_alone_writes_the_notebooks_of_students(python, tmp_path):
    run(python, tmp_path, "-m", "latentcortex.command", "student", "class")
    assert {p.name for p in (tmp_path / "class").glob("*.ipynb")} == {
        p.name for p in (ROOT / "book").glob("*.ipynb") if p.stem != "intro"
    }


def test_the_wheel_alone_lists_products_and_scripts(python, tmp_path):
    code = "from latentcortex.command import main; main(['results'])"
    printed = run(python, tmp_path, "-c", code)
    assert str(ROOT / "results") not in printed  # the cache may lie in the clone
    for path in (ROOT / "results").glob("*.npz"):
        assert path.stem in printed
    help_text = run(python, tmp_path, "-m", "latentcortex.command", "run", "ch05_decode_latents", "--help")
    assert "--scheduler" in help_text


def shows(cell):
    """Tell whether a cell shows a figure, a table or text."""
    kinds = {output["output_type"] for output in cell.get("outputs", [])}
    return bool(kinds & {"display_data", "execute_result", "stream"})


def pictures(cell):
    """Tell whether a cell shows a figure or a table."""
    kinds = {output["output_type"] for output in cell.get("outputs", [])}
    return bool(kinds & {"display_data", "execute_result"})


@pytest.mark.skipif("LATENTCORTEX_BUILT_BOOK" not in os.environ, reason="`make book` runs this")
def test_no_cell_that_shows_something_in_the_clone_shows_nothing_from_the_wheel(python, tmp_path):
    import nbformat

    in_clone = Path(os.environ["LATENTCORTEX_BUILT_BOOK"]).parents[1] / "source"
    run(python, tmp_path, "-c", EXECUTE, *(str(ROOT / "book" / f"{name}.ipynb") for name in CHAPTERS))
    for name in CHAPTERS:
        cells, alone = (
            nbformat.read(folder / f"{name}.ipynb", as_version=4)["cells"] for folder in (in_clone, tmp_path)
        )
        for k, (here, there) in enumerate(zip(cells, alone, strict=True)):
            assert shows(there) >= shows(here) and pictures(there) >= pictures(here), f"{name}, cell {k}"
        # Something was compared: a chapter's main line has up to four figures and two tables.
        assert sum(map(pictures, cells)) >= 6
