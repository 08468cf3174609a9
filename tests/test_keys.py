"""Keys follow the code that decides a result, and nothing else."""

import numpy as np
import pytest

from latentcortex.studies import drawings, keys, shared_training, targets
from latentcortex.studies.study import Study

FILES = {
    "script.py": (
        "from latentcortex import tools, store\n"
        "from latentcortex.tools.one import direct\n"
        "N = 3\n"
        "def make(study):\n    return tools.offered(N) + direct(study) + store.whole\n"
        "def unused():\n    return tools.other()\n"
    ),
    "latentcortex/__init__.py": "",
    "latentcortex/store.py": "whole = 1\nlone = 2\n",
    "latentcortex/tools/__init__.py": (
        "from latentcortex.tools.one import direct, offered\nfrom latentcortex.tools.two import other\n"
    ),
    "latentcortex/tools/one.py": (
        "from latentcortex.tools import two\n"
        "def offered(n):\n    return two.deep(n) + len(two.REGISTRY)\n"
        "class direct:\n    def method(self):\n        return LIMIT\n"
        "LIMIT = 5\n"
    ),
    "latentcortex/tools/two.py": (
        "REGISTRY = {}\ndef deep(n):\n    return n + 1\ndef other():\n    return 0\nREGISTRY['deep'] = deep\n"
    ),
}


@pytest.fixture
def key(tmp_path, monkeypatch):
    """Write a small package and a script, some of it changed; return the script's key."""
    monkeypatch.setattr(keys, "PACKAGE", tmp_path / "latentcortex")
    monkeypatch.setattr(keys, "_STARTED", np.inf)

    def key_with(file=None, old="", new=""):
        for name, text in FILES.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert file != name or old in text
            path.write_text(text.replace(old, new) if name == file else text)
        keys._module.cache_clear()
        keys._mentioned.cache_clear()
        namespace = {}
        exec(
            compile(FILES["script.py"].split("def ")[1].join(["def ", ""]), tmp_path / "script.py", "exec"),
            namespace,
        )
        return keys.key_of([namespace["make"]], {"seed": 0})

    yield key_with
    keys._module.cache_clear()
    keys._mentioned.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("script.py", "N = 3", "N = 4"),
        ("script.py", "+ direct", "- direct"),
        ("latentcortex/store.py", "whole = 1", "whole = 3"),
        ("latentcortex/tools/one.py", "two.deep(n)", "two.deep(n + 1)"),
        ("latentcortex/tools/one.py", "LIMIT = 5", "LIMIT = 6"),
        ("latentcortex/tools/two.py", "n + 1", "n + 2"),
        ("latentcortex/tools/two.py", "REGISTRY['deep']", "REGISTRY['other']"),
    ],
)
def test_a_change_of_what_is_reached_changes_the_key(key, file, old, new):
    assert key(file, old, new) != key()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("script.py", "def unused():\n", "def unused():\n    # nobody asks\n"),
        ("script.py", "tools.other()", "tools.other() + 1"),
        ("latentcortex/store.py", "lone = 2", "lone = 3"),
        ("latentcortex/tools/two.py", "return 0", "return 1"),
        ("latentcortex/tools/two.py", "def deep(n):\n", "def deep(n):\n    '''Say what it does.'''\n"),
        ("latentcortex/tools/one.py", "LIMIT = 5", "LIMIT = 5  # why"),
    ],
)
def test_comments_docstrings_and_what_is_not_reached_change_nothing(key, file, old, new):
    assert key(file, old, new) == key()


def test_code_that_changed_since_the_process_started_gives_no_key(key, monkeypatch):
    """What such a process keeps would bear the name of code that did not make it."""
    key()
    monkeypatch.setattr(keys, "_STARTED", 0.0)
    with pytest.raises(RuntimeError, match="has changed since this process started"):
        key()


def test_settings_are_part_of_the_key():
    assert keys.key_of([Study], {"seed": 0}) != keys.key_of([Study], {"seed": 1})


def names(*functions):
    starts = [(keys._file_of(function), function.__qualname__.split(".")[0]) for function in functions]
    return {f"{keys._label(file)}:{name}" for file, name in keys.reached(starts)}


def test_a_drawing_knows_its_sampler_its_decoder_and_its_responses_and_no_metric():
    reached = names(drawings.reconstruct, drawings.to_bytes, drawings.SOURCES["ridge"], Study)
    assert reached >= {
        "sampler/loop.py:sample",
        "features/latents.py:decode_latents",
        "features/diffusion_model.py:load_latent_diffusion",
        "decoders.py:LinearDecoder",
        "ridge/regression.py:Ridge",
        "studies/responses.py:Responses",
        "nsd/repeats.py:zscore",
        "metrics/baselines.py:bottleneck",
    }
    assert not [
        name for name in reached if name.startswith(("metrics/images", "metrics/scoring", "shared_space"))
    ]


def test_a_training_knows_the_region_that_it_reads():
    reached = names(shared_training.Trainings, Study)
    assert reached >= {"studies/responses.py:VISUAL_CORTEX", "shared_space/training.py:train"}
    assert "nsd/responses.py:scaled_betas" in reached


def test_targets_know_their_networks_and_no_decoder():
    reached = names(targets.encode, Study)
    assert reached >= {"features/captions.py:encode_captions", "features/clip_layers.py:encode_clip_layers"}
    assert not [name for name in reached if name.startswith(("decoders", "ridge", "sampler"))]
