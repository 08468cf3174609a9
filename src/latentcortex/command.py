"""The console command ``latentcortex``: score, run studies, test maps, fetch and check data, teach."""

import argparse
import runpy
import sys


def main(argv=None):
    """Run the command and return its exit status.

    Parameters
    ----------
    argv : list of str, optional
        By default, the arguments that the shell passed.
    """
    parser = argparse.ArgumentParser(prog="latentcortex", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    argv = sys.argv[1:] if argv is None else list(argv)
    for name, (add, run, text) in COMMANDS.items():
        one = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        one.set_defaults(run=run)
        if argv[:1] == [name]:  # the others would import what this one does not need
            add(one)
    args, unknown = parser.parse_known_args(argv)
    if unknown:  # said by the command, whose usage tells what it takes
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return args.run(args) or 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"latentcortex {args.command}: {error}", file=sys.stderr)
        return 1


def _add_score(parser):
    from latentcortex import scorecard

    scorecard.add_arguments(parser)


def _score(args):
    from latentcortex import scorecard

    return scorecard.run(args)


def _scripts():
    from latentcortex.studies import results

    folder = results.shipped_folder("data_scripts")
    # Scripts of chapters make products, the others fill the cache for them.
    return {path.stem: path for pattern in ("ch*.py", "fill_*.py") for path in sorted(folder.glob(pattern))}


def _add_run(parser):
    parser.usage = "latentcortex run NAME [OPTION ...]"
    parser.add_argument("name", metavar="NAME", help="such as ch05_decode_latents")
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="of the script, after its name: --help lists them"
    )


def _run(args):
    scripts = _scripts()
    if args.name not in scripts:
        raise ValueError(f"There is no script {args.name!r}. There are: {', '.join(scripts)}.")
    before, sys.argv = sys.argv, [f"latentcortex run {args.name}", *args.options]
    try:
        runpy.run_path(str(scripts[args.name]), run_name="__main__")
    finally:
        sys.argv = before


def _results(_args):
    from latentcortex import store
    from latentcortex.studies import results

    rows, scripts, details = [("product", "made", "size", "belongs to this code")], _scripts(), {}
    for path in results.products():
        state, size = results.state(path, scripts), f"{path.stat().st_size / 1e6:.1f} MB"
        made = {} if state.startswith("damaged") else store.provenance(path)
        short, _, detail = state.partition("; ")
        rows.append((path.stem, made.get("date", "?"), size, short))
        if detail:
            details[made["script"]] = detail
    _print_table(rows)
    for script, detail in details.items():
        print(f"\n{script}: {detail}.")
    print(f"\nLooked for in {' and '.join(map(str, results.folders()))}.")


def _add_cache(parser):
    parser.add_argument(
        "--remove",
        nargs="+",
        metavar="NAME",
        help="remove these entries, or all of a kind, such as temporary",
    )


def _cache(args):
    from latentcortex import store

    entries = store.cache_contents()
    rows = [("entry", "kind", "size", "last used")]
    rows += [(e.name, e.kind, f"{e.n_bytes / 1e6:,.1f} MB", e.last_used.date().isoformat()) for e in entries]
    if args.remove is None:
        _print_table(rows)
        total = sum(entry.n_bytes for entry in entries)
        print(f"\n{total / 1e6:,.0f} MB in {store.cache_folder()}; all of it can be computed again.")
        return
    chosen = [entry for entry in entries if {entry.name, entry.kind} & set(args.remove)]
    kinds = {"world", "products", "kept parts", "temporary", "unknown"}  # nothing may be left of one
    unknown = set(args.remove) - {entry.name for entry in chosen} - kinds
    if unknown:
        raise ValueError(f"The cache has no {', '.join(sorted(unknown))}: 'latentcortex cache' lists it.")
    store.remove_cached(chosen)
    print(f"Removed {len(chosen)} entries, {sum(entry.n_bytes for entry in chosen) / 1e6:,.0f} MB.")


def _add_recover(parser):
    from latentcortex.studies import recovery_table

    recovery_table.add_arguments(parser)


def _recover(args):
    from latentcortex.studies import recovery_table

    recovery_table.run(args)


def _add_student(parser):
    from latentcortex import teaching

    teaching.add_arguments(parser)


def _student(args):
    from latentcortex import teaching

    teaching.run(args)


def _add_fetch_world(parser):
    from latentcortex.prebuilt import fetching

    fetching.add_arguments(parser)


def _fetch_world(args):
    from latentcortex.prebuilt import fetching

    fetching.run(args)


def _add_pack_world(parser):
    from latentcortex.prebuilt import publishing

    publishing.add_arguments(parser)


def _pack_world(args):
    from latentcortex.prebuilt import publishing

    publishing.run(args)


def _add_download(parser):
    from latentcortex.nsd import files
    from latentcortex.nsd.chapters import chapter_number

    parser.add_argument("source", choices=("nsd", "coco-captions", "bold5000", "laion-fmri"))
    parser.add_argument("folder", help="where the files go; it is made")
    parser.add_argument(
        "--accept-terms", action="store_true", help="you agree to the terms; otherwise the plan is all"
    )
    parser.add_argument("--dry-run", action="store_true", help="list every file and fetch nothing")
    parser.add_argument(
        "--subjects", nargs="+", type=int, metavar="N", help="default: 1 of NSD, all of others"
    )
    parser.add_argument("--sessions", type=int, metavar="N", help="the first so many; default: all")
    parser.add_argument("--connections", type=int, default=8, metavar="N", help="files at once (default 8)")
    nsd = parser.add_argument_group("of nsd alone")
    nsd.add_argument("--space", choices=files.SPACES, default="fsaverage5")
    nsd.add_argument(
        "--chapters", nargs="+", type=chapter_number, default=[], metavar="N", help="fetch what they need"
    )
    nsd.add_argument("--images", choices=("none", "seen", "all"), help="default: as the chapters need")
    nsd.add_argument("--mirror", default=files.BUCKET, metavar="URL", help="a server with NSD's paths")


def _download(args):
    from latentcortex.nsd import download

    if not 1 <= args.connections <= 32:
        raise ValueError(f"Expected 1 to 32 connections, got {args.connections}.")
    consent = {name: getattr(args, name) for name in ("accept_terms", "dry_run", "connections")}
    if args.source == "coco-captions":
        return download.download_captions(args.folder, **consent)
    if args.source == "nsd":
        subjects = tuple(args.subjects or (1,))
        choice = download.Choice(
            subjects, args.sessions, args.space, tuple(args.chapters), args.images, args.mirror
        )
        return download.download_nsd(choice, args.folder, **consent)
    return _download_open(args, consent)


def _add_check(parser):
    from latentcortex.nsd.chapters import chapter_number

    parser.description = (
        "Say what a folder of brain data holds, for which chapters it is enough, and how to mend the rest. "
        "Defaults are the preset's (LATENTCORTEX_PRESET); the preset mini reads no tree but its own, so "
        "there they are all subjects and the space on disk, and the settings of sd14."
    )
    parser.add_argument("tree", nargs="?", help="folder with nsddata/; default: the preset's")
    parser.add_argument("--subjects", nargs="+", type=int, metavar="N")
    parser.add_argument(
        "--sessions", nargs="+", type=int, metavar="N", help="numbers; default: those on disk"
    )
    parser.add_argument("--space", help="such as fsaverage5")
    parser.add_argument(
        "--chapters",
        nargs="+",
        type=chapter_number,
        metavar="N",
        help="such as 5 primer_fmri; default: all that the tree may be for",
    )


def _check(args):
    """Print what a tree holds; return 0 if all chapters asked for can run, else 1."""
    from latentcortex import nsd, presets
    from latentcortex.nsd import inspecting
    from latentcortex.nsd.chapters import chapters_for

    preset = presets.get()
    subjects, space = args.subjects or preset.subjects, args.space or preset.space
    if args.tree and preset.data == "mini":
        preset, subjects = presets.get("sd14"), args.subjects or ()
        space = args.space or inspecting.space_of(args.tree)
    root = args.tree or preset.open()
    chosen = args.chapters or chapters_for(root)
    findings = nsd.inspect(
        root,
        [f"subj{number:02d}" for number in subjects],
        space,
        args.sessions or preset.sessions,
        chosen,
        preset.image_size,
    )
    return inspecting.report(findings, chosen)


def _download_open(args, consent):
    """Fetch a data set that needs no form, whose list of files `open_data` has."""
    from latentcortex.open_data import bold5000, laion_fmri
    from latentcortex.store import downloads

    module = {"bold5000": bold5000, "laion-fmri": laion_fmri}[args.source]
    source = module.download_source(args.subjects, args.sessions, connections=args.connections)
    return downloads.run(source, args.folder, **consent)


def _add_import(parser):
    parser.add_argument("source", choices=("bold5000", "laion-fmri"))
    parser.add_argument("folder", help="the authors' files, as they were downloaded")
    parser.add_argument("tree", help="where the tree goes; it is made")
    parser.add_argument("--subjects", nargs="+", type=int, metavar="N", help="default: all that there are")
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="pixels; of laion-fmri alone (default 425, as NSD)"
    )


def _import(args):
    if args.source == "bold5000":
        from latentcortex.open_data import bold5000

        if args.image_size is not None:
            raise ValueError("--image-size is of laion-fmri: BOLD5000's photographs stay as they are.")
        root = bold5000.import_bold5000(args.folder, args.tree, args.subjects)
    else:
        from latentcortex.open_data import laion_fmri

        sizes = {} if args.image_size is None else {"image_size": args.image_size}
        root = laion_fmri.import_laion_fmri(args.folder, args.tree, args.subjects, **sizes)
    print(f"Written to {root}. To use it, write a file of settings, such as my.toml:\n")
    print(f'base = "sd14"\ndata = "{root.as_posix()}"\nsubjects = {_numbers(root)}\nspace = "func1pt8mm"\n')
    print("and start with LATENTCORTEX_PRESET=my.toml.")


def _numbers(root):
    from latentcortex import nsd

    return [int(name.removeprefix("subj")) for name in nsd.subjects(root)]


def _add_plan(parser):
    from latentcortex.studies import costs_table

    costs_table.add_arguments(parser)


def _plan(args):
    from latentcortex.studies import costs_table

    costs_table.run(args)


def _print_table(rows):
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _no_options(parser):
    return parser


COMMANDS = {
    "score": (_add_score, _score, "score a folder of reconstructions against a folder of originals"),
    "run": (_add_run, _run, "make the product of a chapter"),
    "recover": (_add_recover, _recover, "ask how well a method of mapping recovers simulated truth"),
    "plan": (_add_plan, _plan, "say what a study takes: parts, bytes, GPU hours and cost"),
    "results": (_no_options, _results, "list the products, and whether they still belong to the code"),
    "student": (_add_student, _student, "write the chapters as notebooks for students"),
    "fetch-world": (_add_fetch_world, _fetch_world, "fetch a simulated world where that beats building it"),
    "pack-world": (_add_pack_world, _pack_world, "make an archive of a simulated world, to publish it"),
    "download": (_add_download, _download, "download brain data, after saying what and how much"),
    "check": (_add_check, _check, "say what a folder of brain data holds, and for which chapters"),
    "import": (_add_import, _import, "turn an open data set into a tree that every chapter reads"),
    "cache": (_add_cache, _cache, "list what lies in the cache, and remove what is named"),
}


if __name__ == "__main__":
    sys.exit(main())
