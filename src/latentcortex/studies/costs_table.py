"""The command ``latentcortex plan``: print what a study of a preset takes."""

import dataclasses
import math

from latentcortex import presets
from latentcortex.studies import costs


def add_arguments(parser):
    """Add the arguments of the command to a parser."""
    parser.description = (
        "Say what a study takes: parts, bytes, GPU hours and cost. Nothing is downloaded, and no GPU is "
        "needed. Hours are estimates unless you give a rate that you have measured."
    )
    parser.add_argument("--preset", help="default: $LATENTCORTEX_PRESET, else mini")
    parser.add_argument("--subjects", nargs="+", type=int, metavar="N", help="default: the preset's")
    parser.add_argument(
        "--sessions", type=int, default=40, metavar="N", help="of NSD, if it is not there yet"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="drawings of each test image")
    parser.add_argument(
        "--price", nargs="+", type=_pair, default=[], metavar="GPU=PRICE", help="of an hour, such as T4=0.35"
    )
    parser.add_argument(
        "--rate",
        nargs="+",
        type=_pair,
        default=[],
        metavar="GPU=TFLOPS",
        help="measured by benchmarks/rate_of_the_unet.py, such as T4=12",
    )


def run(args):
    """Print the plan of a preset."""
    preset = presets.get(args.preset)
    if args.subjects:
        preset = dataclasses.replace(preset, subjects=tuple(args.subjects))
    sizes, origin = costs.sizes_of(preset, args.sessions, args.repeats)
    prices, rates = dict(args.price), dict(args.rate)
    table = costs.plan(preset, sizes)
    machines = costs.machines_table(table, prices, rates)
    print(f"Preset {preset.name}. {_sentence(sizes)} Sizes: {origin}.")
    if origin.startswith("NSD"):
        print(_download(preset, args.sessions))
    print()
    print(_text(table[["count", "parts", "tflop", "gigabytes", "formula"]]))
    total = f"{table['tflop'].sum():,.0f} TFLOP, {table['gigabytes'].sum():,.1f} GB kept"
    print(f"\nIn all {total}. A part is made and kept alone: --shard and --scheduler share them out.\n")
    print(_text(machines))
    print(f"\n{_basis(rates)}\n{_price_basis(prices)}")


def _sentence(sizes):
    return (
        f"{sizes.n_subjects} subjects, {sizes.n_images:,} images, {sizes.n_test:,} test images drawn "
        f"{sizes.n_repeats} times, {sizes.n_voxels:,} vertices or voxels."
    )


def _download(preset, n_sessions):
    """Say what a download of NSD brings; other data announce their own."""
    if preset.sessions is not None:
        n_sessions = max(preset.sessions)
    found = costs.download_of(preset, n_sessions)
    return (
        f"To download from NSD: {found['gigabytes']:,.1f} GB of {found['files']:,} files, and "
        f"{found['images']:,.1f} GB of images at most. Responses take {found['memory']:.1f} GB of memory."
    )


def _text(table):
    shown = table.copy()
    for name in shown.select_dtypes("number"):
        shown[name] = [
            f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.3g}" for value in shown[name]
        ]
    return shown.to_string(justify="right")


def _basis(rates):
    known = ", ".join(f"{gpu} {rate:g} TFLOP/s (yours)" for gpu, rate in rates.items())
    peaks = ", ".join(f"{gpu} {peak[0]}" for gpu, peak in costs.PEAKS.items() if gpu not in rates)
    text = (
        f"Hours are estimated: operations / (peak rate x {costs.UTILISATION:.2f}). The share was measured "
        f"on an H200 with Stable Diffusion's U-Net. Peaks in TFLOP/s: {peaks}. Loading, scoring and waiting "
        "for disks are not in it."
    )
    return f"Rates: {known}. {text}" if known else text


def _price_basis(prices):
    used = {**costs.ASSUMED_PRICES, **prices}
    text = ", ".join(f"{gpu} {price:g}{'' if gpu in prices else ' (assumed)'}" for gpu, price in used.items())
    return (
        f"Cost = GPU hours x price of a GPU hour: {text}. Assumed prices are round numbers of "
        f"{costs.ASSUMED_IN} that nobody quoted: give yours by --price."
    )


def _pair(text):
    gpu, _, number = text.partition("=")
    value = float(number)  # argparse names the argument if this is no number
    if gpu not in costs.PEAKS or not 0 < value < math.inf:
        raise ValueError(text)
    return gpu, value
