"""Reads a folder of originals and one of reconstructions; writes scores.csv, scores.md, scores.png.

Both folders hold pictures, one a file, PNG or npy, in any mixture:

- PNG with 8 bits a channel. Grey and palettes become RGB; what is transparent anywhere is refused.
- npy: uint8 (h, w, 3), or floats (h, w, 3) or (3, h, w) in [0, 1]. No range is guessed.

Files are matched by id: the first number in the name, leading zeros or not (00042.png, img_42.npy).
A second number is that of the drawing (00042_003.png): there may be several drawings of an id, as
many of every one, and one original. The scores of drawings are averaged, as the protocol does it.
Ids that only one side has are an error, or with --only-common left out and named in the report, and
so are files with another ending or without a number.

All originals have one size, and all reconstructions. The published protocols resize both by rules
of their own. Protocols that look at pictures as they are (mini) need equal sizes: reconstructions
are then brought to the size of the originals by bilinear interpolation with antialiasing, which
squashes them if their shape is another one, and the report says so. Training images always are.

Beside the reconstructions stand baselines: reconstructions handed to other originals, originals
blurred by a sixteenth of their width, and with --training the mean of training images and some of
them at random. Nothing is written before all is computed; in an existing folder only files of these
three names are replaced. Takes memory for three times the originals (a thousand of 425 pixels have
2.2 GB) and for what the networks put out, more with several drawings.
"""

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path

import image_folders as folders
import numpy as np
import pandas as pd
import score_report
import torch
from torch.nn.functional import interpolate
from tqdm.auto import tqdm

from latentcortex import metrics, store
from latentcortex.metrics.networks import Network

SHUFFLE, TRAINING = 1, 2  # what a seed is for


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("originals", type=Path)
    parser.add_argument("reconstructions", type=Path)
    parser.add_argument("--out", type=Path, default=Path("scores"), help="folder (./scores)")
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=list(metrics.PROTOCOLS),
        default=["mindeye2"],
        help="one or several sets of scores (mindeye2); mini fits pictures of 64 x 64 pixels only",
    )
    parser.add_argument("--only-common", action="store_true", help="score the ids in both folders")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="NAME.safetensors of the networks; without them their scores are left out and named: "
        + ", ".join(metrics.NETWORKS),
    )
    parser.add_argument("--download", action="store_true", help="fetch weights that are not there")
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="columns id and group, for mini: distractors of an image's own group",
    )
    parser.add_argument(
        "--training",
        type=Path,
        metavar="FOLDER",
        help="training images of any names: two more baselines, and mini's centred scores",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="of the networks (cpu)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per pass (32)")
    args = parser.parse_args(argv)
    args.protocol = list(dict.fromkeys(args.protocol))
    return args


def check_arguments(args):
    """Refuse what would otherwise be noticed after hours, or never."""
    if args.out.resolve() in {args.originals.resolve(), args.reconstructions.resolve()}:
        raise ValueError(f"{args.out} is a folder of pictures: give --out another one.")
    if args.originals.resolve() == args.reconstructions.resolve():
        raise ValueError("Originals and reconstructions are one folder: all scores are perfect.")
    if args.weights is not None and not args.weights.is_dir():
        raise FileNotFoundError(f"There is no folder {args.weights} of weights.")
    if args.groups is not None and "mini" not in args.protocol:
        raise ValueError("--groups is for the scores of --protocol mini; the others have none.")
    if args.batch_size < 1:
        raise ValueError(f"Expected a --batch-size of at least 1, got {args.batch_size}.")


def read_images(args):
    """Read both sides.

    Returns
    -------
    ids : list of int
    originals : float32 tensor (n, 3, h, w)
    drawings : float32 tensor (n, n_drawings, 3, h, w)
    notes : list of str
        What the report has to say of the files.
    """
    truths, stray = folders.list_by_id(args.originals)
    drawn, more = folders.list_by_id(args.reconstructions, several=True)
    ids, left_out = folders.match(truths, drawn, args.only_common)
    originals = folders.load([truths[k][0] for k in ids])
    shape = originals.shape[2:]
    if "mini" in args.protocol and shape != (64, 64):
        raise ValueError(
            f"The networks of --protocol mini see 64 x 64 pixels, the originals have {shape[0]} x "
            f"{shape[1]}: resize them, or choose another protocol."
        )
    paths = [path for k in ids for path in drawn[k]]
    own = folders.read_image(paths[0]).shape[1:]
    as_they_are = any(
        one.view.size is None and protocol.first.size is None
        for protocol in (metrics.PROTOCOLS[name] for name in args.protocol)
        for one in protocol.scores
    )
    drawings = folders.load(paths, shape if as_they_are else own).unflatten(0, (len(ids), -1))
    notes = [
        f"{len(ids)} originals of {shape[0]} x {shape[1]} pixels from `{args.originals}`; "
        f"reconstructions of {own[0]} x {own[1]} from `{args.reconstructions}`, drawings of each: "
        f"{drawings.shape[1]}.",
        *resized("Reconstructions", own, drawings.shape[3:]),
        *(
            f"Left out, for there is {side}: {len(which)} ids ({', '.join(map(str, which))})."
            for side, which in left_out.items()
            if which
        ),
        *strays([*stray, *more]),
    ]
    return ids, originals, drawings, notes


def resized(what, own, shape):
    """Say that pictures were resized, if they were."""
    if tuple(own) == tuple(shape):
        return []
    squashed = ", which squashed them" if own[0] * shape[1] != own[1] * shape[0] else ""
    return [
        f"{what} were resized from {own[0]} x {own[1]} to {shape[0]} x {shape[1]} pixels (bilinear "
        f"interpolation, antialiased){squashed}."
    ]


def strays(paths):
    """Name files that were not used."""
    return [f"Not used: {', '.join(f'`{path}`' for path in paths)}."] if paths else []


def read_groups(path, ids):
    """Read the group of each id: array (n,) of str; every group must have two members."""
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    if not {"id", "group"} <= set(table):
        raise ValueError(f"Expected columns id and group in {path}, got {list(table)}.")
    wrong = [text for text in table["id"] if not text.strip().isdecimal()]
    if wrong:
        raise ValueError(f"{path} has ids that are no whole numbers: {folders.some(wrong)}.")
    group = pd.Series(table["group"].to_numpy(), index=table["id"].astype(int))
    twice = group.index[group.index.duplicated()]
    missing = [k for k in ids if k not in group.index or group.loc[[k]].iloc[0] == ""]
    if len(twice) or missing:
        raise ValueError(
            f"Expected one group for every id in {path}. Twice: {folders.some(twice) or 'none'}. "
            f"Without a group: {folders.some(missing) or 'none'}."
        )
    groups = group.loc[ids]
    alone = [k for k in ids if (groups == groups[k]).sum() == 1]
    if alone:
        raise ValueError(
            f"Ids {folders.some(alone)} are alone in their groups, with nothing to be told from: "
            f"merge groups in {path}."
        )
    return groups.to_numpy(dtype=str)


def load_networks(args, protocols):
    """Load those networks of the protocols that can be had, by name."""
    wanted = dict.fromkeys(one.network for protocol in protocols for one in protocol.scores)
    networks = {}
    for name in (name for name in wanted if name in metrics.NETWORKS):
        try:
            networks[name] = metrics.load_network(name, args.weights, args.download, args.device)
        except FileNotFoundError:
            if args.download:
                raise
    if "mini" in args.protocol:
        from latentcortex.mini.networks import load_instruments

        networks |= load_instruments()
    return networks


def computable(protocol, networks, groups, mean_image):
    """Return the protocol with the scores that can be computed, and what the others lack."""
    lacking = protocol.left_out(networks, groups, mean_image)
    for one in protocol.scores:
        network = networks.get(one.network)
        # Weights of an AlexNet may come without its classifier.
        if isinstance(network, Network) and one.layer not in dict(network.module.named_modules()):
            lacking[one.name] = f"{one.layer} of {one.network}"
    scores = tuple(one for one in protocol.scores if one.name not in lacking)
    if not scores:
        raise ValueError(
            f"Nothing of --protocol {protocol.name} can be computed without its networks: "
            f"{', '.join(dict.fromkeys(lacking.values()))}. Give --weights or --download."
        )
    return dataclasses.replace(protocol, scores=scores), lacking


def make_rows(args, originals, drawings, training, mean_image):
    """Name what is scored, and how each is made: when its turn comes, to hold one at a time."""
    n, shape = len(originals), originals.shape[2:]

    def shuffled():
        return drawings[metrics.shuffled_rows(n, np.random.default_rng([args.seed, SHUFFLE]))]

    def blurred():
        made = torch.empty_like(originals)
        for some, part in zip(originals.split(args.batch_size), made.split(args.batch_size), strict=True):
            part[:] = torch.from_numpy(metrics.blurred(some.numpy(), shape[1] / 16)).clamp(0, 1)
        return made

    rows = {"reconstructions": lambda: drawings, "shuffled": shuffled, "blurred truth": blurred}
    if training:
        if len(training) < n:
            raise ValueError(
                f"--training has {len(training)} images for {n} originals: give at least as many, "
                "or leave the option out."
            )
        rng = np.random.default_rng([args.seed, TRAINING])
        chosen = [training[k] for k in metrics.random_training_rows(len(training), n, rng)]
        rows["mean training image"] = lambda: mean_image.expand(n, -1, -1, -1)
        rows["random training images"] = lambda: folders.load(chosen, shape)
    return rows


def score_row(row, protocol, originals, images, **more):
    """Score one row; of a baseline a score may be undefined, and is then not in the result."""
    try:
        return metrics.score(protocol, originals, images, **more)
    except metrics.UndefinedCorrelation as error:
        if row == "reconstructions":
            raise ValueError(
                f"{protocol.name}: {error} Rows are counted from 0 in the order of the ids."
            ) from error
    found = {}
    for one in protocol.scores:
        with contextlib.suppress(metrics.UndefinedCorrelation):
            alone = dataclasses.replace(protocol, scores=(one,))
            found |= metrics.score(alone, originals, images, **more)
    return found


def consistency(protocols, originals, drawings, networks, batch_size):
    """Compare drawings with one another and with the truth, by pixels and by AlexNet(5).

    Returns
    -------
    dict of str to (among, to_truth), arrays (n,)
        By what is compared; empty for a single drawing.
    """
    if drawings.shape[1] == 1:
        return {}
    parts = []
    for some, true in zip(drawings.split(batch_size), originals.split(batch_size), strict=True):
        if some.shape[3:] != true.shape[2:]:
            some = interpolate(some.flatten(0, 1), true.shape[2:], mode="bilinear", antialias=True)
            some = some.unflatten(0, (len(true), -1))
        parts.append(metrics.repeat_consistency(some, true))
    found = {"pixels": [np.concatenate(values) for values in zip(*parts, strict=True)]}
    for protocol in protocols:
        for one in (one for one in protocol.scores if one.name == "AlexNet(5)"):
            alone = dataclasses.replace(protocol, scores=(one,))
            true, *pred = (
                next(iter(metrics.extract(alone, images, networks, batch_size).values()))
                for images in (originals, *drawings.unbind(1))
            )
            name = f"{protocol.name}/{one.name}"
            found[name] = metrics.repeat_consistency(np.stack(pred, axis=1), true)
    return found


def main(argv=None):
    args = parse(argv)
    check_arguments(args)
    ids, originals, drawings, notes = read_images(args)
    groups = None if args.groups is None else read_groups(args.groups, ids)
    training, mean_image = None, None
    if args.training is not None:
        training, stray = folders.list_images(args.training)
        mean_image = folders.mean(training, originals.shape[2:])
        own = folders.read_image(training[0]).shape[1:]
        notes.append(f"{len(training)} training images from `{args.training}`.")
        notes += [*resized("Training images", own, originals.shape[2:]), *strays(stray)]
    for note in notes[1:]:
        print(note, file=sys.stderr)

    wanted = [metrics.PROTOCOLS[name] for name in args.protocol]
    networks = load_networks(args, wanted)
    made = [computable(protocol, networks, groups, mean_image) for protocol in wanted]
    rows = make_rows(args, originals, drawings, training, mean_image)
    scores = {}  # by protocol, row and score: arrays (n,)
    with tqdm(total=len(made) * len(rows), desc="score", unit="row") as progress:
        for protocol, _ in made:
            more = {
                "networks": networks,
                "groups": groups,
                "mean_image": mean_image,
                "batch_size": args.batch_size,
            }
            more["features_true"] = metrics.extract(protocol, originals, networks, args.batch_size)
            scores[protocol.name] = {}
            for row, make in rows.items():
                scores[protocol.name][row] = score_row(row, protocol, originals, make(), **more)
                progress.update()
    protocols = [protocol for protocol, _ in made]
    agreement = consistency(protocols, originals, drawings, networks, args.batch_size)

    found = score_report.Scored(ids, made, scores, agreement, notes, args.seed)
    contents = {
        "scores.csv": score_report.table(found).to_csv(index=False, na_rep="NaN").encode(),
        "scores.md": score_report.markdown(found).encode(),
        "scores.png": score_report.picture(found, originals, drawings),
    }
    for name, content in contents.items():
        with store.replacing(args.out / name) as temporary:
            temporary.write_bytes(content)
    print(f"Wrote {', '.join(contents)} to {args.out}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
