"""A plan counts operations that are known, and turns them into hours and cost by hand-made sums."""

import dataclasses
import math

import pytest
import torch
from standins import diffusion

from latentcortex import presets
from latentcortex.command import main
from latentcortex.studies import costs, operations, replication

UNET, DECODE = (operations.STABLE_DIFFUSION[name] for name in ("unet", "decode"))
SIZES = costs.Sizes(n_subjects=4, n_train=9_000, n_test=1_000, n_images=37_000, n_voxels=20_484)


def test_stable_diffusion_is_counted_again():
    with torch.device("meta"):
        made = diffusion.networks(diffusion.FULL)
    counted = operations.count_operations(
        made["unet"], made["vae"], made["text_encoder"], 512, (4, 64, 64), 77
    )
    assert counted == operations.STABLE_DIFFUSION


def test_a_folder_is_counted_without_weights(tmp_path):
    """One linear layer by hand: the text encoder's first projection grows by 2 x tokens x width x width."""
    diffusion.write_folder(tmp_path / "model", 8)
    for path in (tmp_path / "model").rglob("*.safetensors"):
        path.unlink()
    fields = {"model": str(tmp_path / "model"), "image_size": 64, "latent_shape": (4, 8, 8)}
    found = operations.operations_of(dataclasses.replace(presets.get("sd14"), **fields))
    width, n = 32, 77
    # 12 layers: four projections, two products of attention, two of the perceptron.
    assert found["text"] == 12 * (4 * 2 * n * width**2 + 2 * 2 * n**2 * width + 2 * 2 * n * width * 4 * width)
    with pytest.raises(FileNotFoundError, match="model 'nowhere'.*give its folder"):
        operations.operations_of(dataclasses.replace(presets.get("sd14"), model="nowhere"))


def test_drawings_are_counted_by_hand():
    table = costs.plan(presets.get("sd14"), SIZES)  # 50 steps, strength 0.8, guidance
    both = table.loc["drawings, both"]
    assert both["count"] == 4 * 1_000 * 5 and both["parts"] == 400
    assert both["tflop"] == pytest.approx(20_000 * (2 * 40 * UNET + DECODE) / 1e12)
    assert both["gigabytes"] == pytest.approx(20_000 * 512 * 512 * 3 / 1e9)
    assert table.loc["drawings, z only", "tflop"] == pytest.approx(20_000 * (40 * UNET + DECODE) / 1e12)
    assert table.loc["drawings, c only", "tflop"] == pytest.approx(20_000 * (100 * UNET + DECODE) / 1e12)
    assert table.loc["z of the images", "parts"] == math.ceil(37_000 / 128)
    removal = sum(replication.read_kit()["features"]["removed"].values())
    assert table.loc["z_c of figures 6 to 8", "tflop"] == pytest.approx(37_000 * 2 * removal * UNET / 1e12)


def test_no_part_is_larger_than_50_drawings_or_256_images():
    table = costs.plan(presets.get("sd14"), SIZES)
    per_part = table["count"] / table["parts"]
    assert (per_part[table.index.str.startswith("drawings")] <= 50).all()
    assert (per_part[table.index.str.contains("images|captions|z_c|U-Net")] <= 256).all()


def test_hours_and_cost_follow_from_rate_and_price():
    table = costs.plan(presets.get("sd14"), SIZES)
    half = table["precision"] == "half"
    at_ten = costs.hours(table, "T4", half_rate=10.0, single_rate=5.0)
    assert at_ten.sum() == pytest.approx((table.tflop[half].sum() / 10 + table.tflop[~half].sum() / 5) / 3600)
    found = costs.machines_table(table, {"A100": 2.5})
    assert found.loc["one A100", "cost"] == pytest.approx(2.5 * found.loc["one A100", "gpu_hours"])
    eight = found.loc["eight H100"]
    assert eight["gpu_hours"] == pytest.approx(8 * eight["hours"])
    assert costs.hours(table, "H100", 8).sum() == pytest.approx(eight["hours"])
    # The measured share of the peak, by hand: 3.07 images of 74 passes on a peak of 989.
    by_hand = 3.07 * 74 * 0.803273 / 989
    assert abs(costs.UTILISATION - by_hand) < 1e-4


@pytest.mark.parametrize("wrong", [{"V100": 1.0}, {"T4": -1.0}, {"T4": math.nan}])
def test_wrong_prices_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected a"):
        costs.machines_table(costs.plan(presets.get("sd14"), SIZES), wrong)


@pytest.mark.parametrize("rate", [0.0, math.nan, math.inf])
def test_a_rate_is_above_zero(rate):
    with pytest.raises(ValueError, match="half_rate above 0"):
        costs.hours(costs.plan(presets.get("sd14"), SIZES), "T4", half_rate=rate)


def test_sizes_come_from_data_that_are_there_else_from_the_design(study, monkeypatch):
    monkeypatch.setattr(type(study.preset), "open", lambda _: study.root)
    sizes, origin = costs.sizes_of(study.preset)
    assert (sizes.n_subjects, sizes.n_train, sizes.n_test, sizes.n_images) == (2, 232, 8, 8 + 2 * 232)
    assert str(study.root) in origin
    monkeypatch.undo()
    monkeypatch.delenv("LATENTCORTEX_NSD", raising=False)
    few = dataclasses.replace(presets.get("sd14"), subjects=(1, 2), space="fsaverage5")
    sizes, origin = costs.sizes_of(few, n_sessions=8)
    assert sizes == costs.Sizes(2, 5_400, 600, 600 + 2 * 5_400, 20_484) and "NSD's design" in origin
    for n_sessions in (0, 41, math.nan):
        with pytest.raises(ValueError, match="1 to 40 sessions"):
            costs.sizes_of(few, n_sessions)
    with pytest.raises(ValueError, match="n_test of a plan is nan"):
        costs.Sizes(1, 1, math.nan, 1, 1)


def test_the_command_prints_hours_and_whose_prices_they_are(capsys, monkeypatch):
    monkeypatch.delenv("LATENTCORTEX_NSD", raising=False)
    assert main(["plan", "--preset", "sd14", "--subjects", "1", "--sessions", "8", "--price", "T4=0.4"]) == 0
    printed = capsys.readouterr().out
    assert "one T4" in printed and "T4 0.4," in printed and "A100 2 (assumed)" in printed
    assert "drawings, both" in printed and "To download from NSD" in printed
    for wrong in ("T4", "T4=nan", "V100=1", "T4=-1"):
        with pytest.raises(SystemExit):
            main(["plan", "--preset", "sd14", "--price", wrong])
    assert "argument --price" in capsys.readouterr().err


def test_what_is_fetched_is_summed_by_hand():
    one = dataclasses.replace(presets.get("sd14"), subjects=(1,), space="fsaverage5")
    found = costs.download_of(one, 8)
    assert found["gigabytes"] == pytest.approx(0.536, abs=0.001) and found["files"] == 55
    assert found["images"] == pytest.approx(6_000 * 425 * 425 * 3 / 1e9)
    assert found["memory"] == pytest.approx(2 * 4 * 6_000 * 20_484 / 1e9)
    whole = costs.download_of(dataclasses.replace(one, space="fsaverage"), 40)
    assert whole["memory"] == pytest.approx(2 * 4 * 30_000 * 25_000 / 1e9)  # a block at a time
