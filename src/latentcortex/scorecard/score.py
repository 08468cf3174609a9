"""Score a folder of reconstructions against a folder of originals: scores.csv, scores.md, scores.png.

Both folders hold pictures, one per file, as PNG, JPEG or npy in any mixture:

- PNG and JPEG with 8 bits a channel. Grey and palettes become RGB; what is transparent anywhere is
  refused. JPEG is lossy: the report says how many files are.
- npy: uint8 (h, w, 3), or floats (h, w, 3) or (3, h, w) in [0, 1]. No range is guessed.

Files are matched by the ids in their names (00042.png, img_42.npy, subj01_00042.png, nsd00042.jpg,
42_recon.png). How the names were read is shown. If the guess is wrong, set it with --id. A second number is
that of the drawing (00042_003.png). Each id may have several drawings, the same number for every id, and one
original. The scores of drawings are averaged as in the protocol. Ids that only one side has are an error.
With --only-common they are left out and named in the report. Files with another ending or without a number
are always left out and named.

With --tree FOLDER, a folder with NSD's tables, pictures of the same image are paired although the folders use
different numbers: 73k ids from 0 or from 1, NSD's names (shared0001_nsd02951), rows of MindEye2's or
Brain-Diffuser's test images, ids of COCO. Which numbers a folder uses is told from its images. If that leaves
more than one way to pair the pictures, the ways are named and one has to be chosen by --numbering.

All originals have one size, and so have all reconstructions. The published protocols resize both by their own
rules. Protocols that do not resize (mini) need equal sizes. Reconstructions are then resized to the size of
the originals by bilinear interpolation with antialiasing. This distorts them if their shape differs, and the
report says so. Training images are always resized.

Baselines are scored next to the reconstructions: reconstructions assigned to other originals, and originals
blurred by a sixteenth of their width. With --training there are also the mean of training images and random
training images. Nothing is written before everything is computed. In an existing folder only files with these
three names are replaced. Pictures are read --batch-size at a time, several times each. Most memory is taken
by the outputs of the networks (for mindeye2 about 1 MB per picture of a row).
"""

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path

import numpy as np
from torch.nn.functional import interpolate
from tqdm.auto import tqdm

from latentcortex import metrics, store
from latentcortex.metrics.networks import Network
from latentcortex.scorecard import report
from latentcortex.scorecard.folders import Pictures, list_images, survey
from latentcortex.scorecard.names import some
from latentcortex.scorecard.pairs import find_pictures, look_through, read_groups, resized, strays

SHUFFLE, TRAINING = 1, 2  # what a seed is for


def add_arguments(parser):
    """Add the arguments of `run` to a parser, and the rules for folders to its help text."""
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("originals", type=Path)
    add("reconstructions", type=Path)
    add("--out", type=Path, default=Path("scores"), help="folder (./scores)")
    add(
        "--protocol",
        nargs="+",
        choices=list(metrics.PROTOCOLS),
        default=["mindeye2"],
        help="one or several sets of scores (mindeye2); mini fits pictures of 64 x 64 pixels only",
    )
    add(
        "--id",
        nargs="+",
        metavar="PATTERN",
        help="regular expression whose group is the id in a file's name, such as 'nsd([0-9]+)', a second "
        "group the drawing; one for both folders, or one for each",
    )
    add("--only-common", action="store_true", help="score the ids in both folders")
    add(
        "--tree",
        type=Path,
        metavar="FOLDER",
        help="a folder with NSD's tables: the folders may be numbered differently, as NSD, MindEye2 or "
        "Brain-Diffuser do it, from 0 or from 1; ids are 73k ids from 0 then",
    )
    add(
        "--numbering",
        nargs="+",
        metavar="NAME",
        help="with --tree, where it can't be told which numbers a folder uses: one name for both folders or "
        "one for each, such as 73k-from-1, shared-from-0 (MindEye2), brain-diffuser-from-0, coco",
    )
    add(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="NAME.safetensors of the networks; without them their scores are left out and named: "
        + ", ".join(metrics.NETWORKS),
    )
    add("--download", action="store_true", help="fetch weights that are not there")
    add(
        "--groups",
        type=Path,
        metavar="CSV",
        help="columns id and group, for mini: distractors of an image's own group",
    )
    add(
        "--training",
        type=Path,
        metavar="FOLDER",
        help="training images of any names: two more baselines, and mini's centred scores",
    )
    add("--seed", type=int, default=0)
    add("--device", default="cpu", help="of the networks (cpu)")
    add("--batch-size", type=int, default=32, help="pictures in memory, and per pass of a network (32)")


def check_arguments(args):
    """Raise an error for wrong arguments that would otherwise be noticed after hours, or never."""
    if args.out.resolve() in {args.originals.resolve(), args.reconstructions.resolve()}:
        raise ValueError(f"{args.out} is a folder of pictures: give --out another one.")
    if args.id is not None and len(args.id) > 2:
        raise ValueError(f"Expected one --id for both folders or one for each, got {len(args.id)}.")
    if args.numbering is not None and (args.tree is None or len(args.numbering) > 2):
        raise ValueError(
            "--numbering takes one name for both folders or one for each, and --tree FOLDER whose tables say "
            "which image has which number."
        )
    if args.originals.resolve() == args.reconstructions.resolve() and len(set(args.id or [])) < 2:
        raise ValueError(
            "Originals and reconstructions are one folder: all scores are perfect. If it holds both, tell "
            "them apart by two patterns after --id."
        )
    if args.weights is not None and not args.weights.is_dir():
        raise FileNotFoundError(f"There is no folder {args.weights} of weights.")
    if args.groups is not None and "mini" not in args.protocol:
        raise ValueError("--groups is for the scores of --protocol mini; the others have none.")
    if args.batch_size < 1:
        raise ValueError(f"Expected a --batch-size of at least 1, got {args.batch_size}.")


def load_networks(args, protocols):
    """Return the networks of the protocols that are available, by name."""
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
    """Return the protocol with the scores that can be computed, and what the other scores lack."""
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
    """Return the sets of pictures to score, by name; pictures are read, shuffled and blurred when needed."""
    n, shape = len(originals), originals.own

    def blur(images):
        blurred = metrics.blurred(images.numpy(), shape[1] / 16)
        return images.new_tensor(blurred).clamp(0, 1)

    order = metrics.shuffled_rows(n, np.random.default_rng([args.seed, SHUFFLE]))
    rows = {
        report.RESULT: drawings,
        "shuffled": Pictures(drawings.paths[order], drawings.shape[-2:]),
        "blurred truth": Pictures(originals.paths, change=blur),
    }
    if training is not None:
        if len(training) < n:
            raise ValueError(
                f"--training has {len(training)} images for {n} originals: give at least as many, "
                "or leave the option out."
            )
        rng = np.random.default_rng([args.seed, TRAINING])
        chosen = metrics.random_training_rows(len(training), n, rng)
        rows["mean training image"] = mean_image.expand(n, -1, -1, -1)
        rows["random training images"] = Pictures(training.paths[chosen], shape)
    return rows


def score_row(row, ids, protocol, images, **more):
    """Return the scores of one row; undefined scores of a baseline are left out."""
    try:
        return metrics.score(protocol, reconstructions=images, **more)
    except metrics.UndefinedCorrelation as error:
        if row == report.RESULT:
            which = some(ids[k] for k in error.rows)
            raise ValueError(f"{protocol.name}, ids {which}: {error}") from error
    found = {}
    for one in protocol.scores:
        with contextlib.suppress(metrics.UndefinedCorrelation):
            alone = dataclasses.replace(protocol, scores=(one,))
            found |= metrics.score(alone, reconstructions=images, **more)
    return found


def consistency(protocols, originals, drawings, networks, batch_size):
    """Return how far drawings agree with one another and with the original, by pixels and AlexNet(5).

    The result holds (among, to_truth), arrays (n,), by what is compared. It is empty for a single drawing.
    """
    if drawings.shape[1] == 1:
        return {}
    parts = []
    for start in range(0, len(originals), batch_size):
        true, drawn = (side[start : start + batch_size] for side in (originals, drawings))
        if drawn.shape[3:] != true.shape[2:]:
            drawn = interpolate(drawn.flatten(0, 1), true.shape[2:], mode="bilinear", antialias=True)
            drawn = drawn.unflatten(0, (len(true), -1))
        parts.append(metrics.repeat_consistency(drawn, true))
    found = {"pixels": [np.concatenate(values) for values in zip(*parts, strict=True)]}
    for protocol in protocols:
        for one in (one for one in protocol.scores if one.name == "AlexNet(5)"):
            alone = dataclasses.replace(protocol, scores=(one,))
            of_drawings = [Pictures(paths, drawings.shape[-2:]) for paths in drawings.paths.T]
            true, *pred = (
                metrics.extract(alone, images, networks, batch_size)[one.key]
                for images in (originals, *of_drawings)
            )
            found[f"{protocol.name}/{one.name}"] = metrics.repeat_consistency(np.stack(pred, axis=1), true)
    return found


def score_folders(args):
    """Score two folders by parsed arguments, and write the table, the report and the figure."""
    check_arguments(args)
    args.protocol = list(dict.fromkeys(args.protocol))
    ids, originals, drawings, notes = find_pictures(args)
    groups = None if args.groups is None else read_groups(args.groups, ids)
    training, mean_image = None, None
    if args.training is not None:
        paths, stray = list_images(args.training)
        training = Pictures(paths, originals.own)
        notes += [
            f"{len(training)} training images from `{args.training}`.",
            *resized("Training images", training),
        ]
        notes += strays(stray)
    wanted = [metrics.PROTOCOLS[name] for name in args.protocol]
    networks = load_networks(args, wanted)
    made = [computable(protocol, networks, groups, training) for protocol in wanted]
    notes += look_through(ids, originals, drawings)
    if training is not None:
        _, _, mean_image = survey(training)
    for note in notes[1:]:
        print(note, file=sys.stderr)

    rows = make_rows(args, originals, drawings, training, mean_image)
    scores = {}  # by protocol, row and score: arrays (n,)
    more = {"originals": originals, "networks": networks, "groups": groups, "mean_image": mean_image}
    with tqdm(total=len(made) * len(rows), desc="score", unit="row") as progress:
        for protocol, _ in made:
            more["features_true"] = metrics.extract(protocol, originals, networks, args.batch_size)
            scores[protocol.name] = {}
            for row, images in rows.items():
                found = score_row(row, ids, protocol, images, **more, batch_size=args.batch_size)
                scores[protocol.name][row] = found
                progress.update()
    protocols = [protocol for protocol, _ in made]
    agreement = consistency(protocols, originals, drawings, networks, args.batch_size)

    found = report.Scored(ids, made, scores, agreement, notes, args.seed)
    contents = {
        "scores.csv": report.table(found).to_csv(index=False, na_rep="NaN").encode(),
        "scores.md": report.markdown(found).encode(),
        "scores.png": report.picture(found, originals, drawings),
    }
    for name, content in contents.items():
        with store.replacing(args.out / name) as temporary:
            temporary.write_bytes(content)
    print(f"Wrote {', '.join(contents)} to {args.out}")


def run(args):
    """Score two folders and return the exit status: 0, or 1 after a message that says what is wrong."""
    try:
        score_folders(args)
    except (ValueError, OSError) as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    return 0
