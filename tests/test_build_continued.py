"""A build of the simulated world that is killed and continued gives the files of one that was not."""

import dataclasses
import gzip
import multiprocessing
import os
import signal

import numpy as np
import pytest
from scipy.io import loadmat
from test_build import SIZES

from latentcortex.mini import build, unfinished

pytestmark = pytest.mark.usefixtures("one_thread")

# The simulated cortex itself: the order of its arrays in memory decides the last bits of sums.
REAL = dataclasses.replace(SIZES, n_sessions=(2, 1))


def content(root):
    """Return what each file of a tree holds; some carry the time at which they were written."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        held = path.read_bytes()
        if path.suffix in (".gz", ".mgz"):
            held = gzip.decompress(held)
        elif path.suffix == ".mat":
            held = {k: v.tobytes() for k, v in loadmat(path).items() if not k.startswith("__")}
        found[path.relative_to(root).as_posix()] = held
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_BLOCK", 32)
        root = build.open_tree(seed=3, cache=tmp_path_factory.mktemp("whole"), sizes=REAL)
    return root.name, content(root)


# The second block of pictures, the first session, the further session of a subject, the last estimate.
@pytest.mark.parametrize(
    ("room", "function", "call"),
    [
        ("scenes", "render", 2),
        ("write_measured", "write_volume_betas_session", 1),
        ("write_measured", "write_betas_session", 3),
        ("write_measured", "write_ncsnr", 2),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_a_build_killed_anywhere_gives_the_same_files(
    uninterrupted, tmp_path, monkeypatch, room, function, call
):
    monkeypatch.setattr(build, "_BLOCK", 32)
    calls, whole = [], getattr(getattr(build, room), function)

    def counted(*args, **kwargs):
        calls.append(function)
        return whole(*args, **kwargs)

    def killed(*args, **kwargs):
        if len(calls) == call - 1:
            if room == "write_measured" and "betas" in function:
                whole(*args, **kwargs)  # this file is there, but the step is not whole
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(*args, **kwargs)

    def build_in_process():
        setattr(getattr(build, room), function, killed)
        build.open_tree(seed=3, cache=tmp_path, sizes=REAL)

    process = multiprocessing.get_context("fork").Process(target=build_in_process)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(getattr(build, room), function, counted)
    root = build.open_tree(seed=3, cache=tmp_path, sizes=REAL)
    name, expected = uninterrupted
    assert root.name == name
    found = content(root)
    assert found.keys() == expected.keys()
    assert [file for file in found if found[file] != expected[file]] == []
    # Pictures and sessions that were whole are not made again.
    n_calls = {"render": 3, "write_betas_session": 5, "write_volume_betas_session": 5}
    if function in n_calls:
        assert len(calls) == n_calls[function] - call + 1
    assert not list(tmp_path.glob("*.partial"))


def test_blocks_of_pictures_are_the_pictures_drawn_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_BLOCK", 32)
    drawn = build.scenes.sample_scenes(70, np.random.default_rng(5))
    (tmp_path / "steps").mkdir()
    steps = unfinished.Steps(tmp_path / "steps")
    np.testing.assert_array_equal(build._draw("nsd", drawn, steps), build.scenes.render(drawn))
    assert len(list(tmp_path.rglob("*.npz"))) == 3
