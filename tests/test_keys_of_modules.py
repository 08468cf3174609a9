"""A key follows modules that are mentioned as a whole, and the networks that were used."""

import dataclasses

import pytest

from latentcortex import metrics, presets, store
from latentcortex.studies import keys


def takes_a_package():
    return metrics


def takes_a_module():
    return store


def takes_one_of_it():
    return metrics.pixcorr


def test_a_package_mentioned_as_a_whole_has_a_key_of_its_own():
    functions = (takes_a_package, takes_a_module, takes_one_of_it)
    assert len({keys.key_of([function], {}) for function in functions}) == len(functions)


NETWORKS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler", "guide", "judge")


def preset_with(folder, changed=None):
    """A preset of made-up networks in a folder, one of them changed."""
    for network in NETWORKS:
        (folder / network).mkdir(parents=True)
        (folder / network / "config.json").write_text("1" if network == changed else "0")
    places = {name: str(folder / name) for name in ("guide", "judge")}
    return dataclasses.replace(presets.get("mini"), model=str(folder), **places)


def test_a_product_knows_the_networks_it_was_made_with(tmp_path):
    preset, moved = preset_with(tmp_path / "here"), preset_with(tmp_path / "there")
    assert keys.weights_hash(preset, *NETWORKS) == keys.weights_hash(moved, *NETWORKS)
    for changed in NETWORKS:
        other = preset_with(tmp_path / changed, changed)
        assert keys.weights_hash(other, *NETWORKS) != keys.weights_hash(preset, *NETWORKS)
        differ = [n for n in NETWORKS if keys.weights_hash(other, n) != keys.weights_hash(preset, n)]
        assert differ == [changed]
    with pytest.raises(FileNotFoundError, match="No .*nowhere.*guide and judge"):
        keys.weights_hash(dataclasses.replace(preset, judge="/nowhere"), "judge")
