"""Say what a download would bring before it begins, ask for consent, and report what came."""

import collections
import dataclasses
from pathlib import PurePosixPath

from latentcortex.store import transfer
from latentcortex.store.writing import check_space, free_bytes, in_words

NO_CONSENT = 3  # exit status


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set to download.

    Attributes
    ----------
    name : str
    terms : str
        The terms that everybody who fetches it agrees to.
    remotes : list of transfer.Remote
    refused : str
        What it means if the server refuses a file (HTTP 401 or 403).
    extra : dict of str to int
        What is fetched later and can't be listed before, in words, and the bytes of it at most.
    """

    name: str
    terms: str
    remotes: list
    refused: str = ""
    extra: dict = dataclasses.field(default_factory=dict)


def run(source, folder, accept_terms=False, dry_run=False, **options):
    """Fetch a source into a folder; return the exit status of the command.

    Parameters
    ----------
    source : Source
    folder : path
    accept_terms, dry_run : bool
        Without the first, or with the second, the plan is printed and nothing is fetched.
    **options
        See `transfer.fetch`.

    Returns
    -------
    int
        0: all is there (or a dry run); 1: something is not; 3: the terms were not accepted.
    """
    if not agreed(source, folder, accept_terms, dry_run):
        return 0 if dry_run else NO_CONSENT
    return report(transfer.fetch(source.remotes, folder, **options), source.refused)


def announce(source, folder, each=False):
    """Print the terms of a source, its files, their bytes and the free disk.

    Parameters
    ----------
    source : Source
    folder : path
        Where the files go; need not exist.
    each : bool
        Print every file, not only every folder.

    Returns
    -------
    int
        Bytes that are still to fetch, as far as their sizes are known.
    """
    missing = transfer.what_is_missing(source.remotes, folder)
    print(f"Terms of {source.name}:\n{source.terms}\n")
    rows = collections.defaultdict(list)
    for remote in missing:
        rows[remote.path if each else str(PurePosixPath(remote.path).parent)].append(remote)
    for name, remotes in rows.items():
        count = "" if each else f"{len(remotes):>5} files"
        optional = "  (if the server has it)" if each and remotes[0].optional else ""
        print(f"{in_words(_bytes_of(remotes)):>9}{count}  {name}{optional}")
    for name, n_bytes in source.extra.items():
        print(f"{in_words(n_bytes):>9} at most  {name}")
    n_bytes = _bytes_of(missing) + sum(source.extra.values())
    there = len(source.remotes) - len(missing)
    already = f" {there} more are there already." if there else ""
    print(f"\nTo fetch: {len(missing)} files, about {in_words(n_bytes)}.{already}")
    unknown = sum(remote.size is None for remote in missing)
    if unknown:
        print(f"The sizes of {unknown} of them are not known before.")
    print(f"Free on the disk of {folder}: {in_words(free_bytes(folder))}.")
    return n_bytes


def agreed(source, folder, accept_terms, dry_run):
    """Announce a download and return whether it may begin.

    Parameters
    ----------
    source : Source
    folder : path
    accept_terms, dry_run : bool
        Flags of the command.

    Returns
    -------
    bool

    Raises
    ------
    OSError
        The terms are accepted, but the disk has no room.
    """
    n_bytes = announce(source, folder, each=dry_run)
    if dry_run:
        print("Nothing was fetched, because of --dry-run.")
    elif not accept_terms:
        print("Nothing was fetched. If you agree to the terms, run the command again with --accept-terms.")
    else:
        check_room(folder, n_bytes, source.name)
    return accept_terms and not dry_run


def check_room(folder, n_bytes, what):
    """Raise OSError unless the disk of a folder has room for so many bytes and a twentieth more."""
    advice = "Make room, pass another folder, or ask for fewer subjects or sessions."
    check_space(folder, 1.05 * n_bytes, f"{what}, with a twentieth to spare,", advice)


def report(outcomes, refused=""):
    """Print what came and what did not; return the exit status, 0 if nothing failed.

    Parameters
    ----------
    outcomes : list of transfer.Outcome
    refused : str
        See `Source`.
    """
    states = collections.Counter(outcome.state for outcome in outcomes)
    print(", ".join(f"{count} {state}" for state, count in states.items()) + ".")
    absent = collections.defaultdict(list)
    for outcome in outcomes:
        if outcome.state == "refused as expected":
            absent[outcome.text].append(PurePosixPath(outcome.remote.path).name)
        if outcome.state == "fetched" and _differs(outcome):
            print(
                f"{outcome.remote.path} has {outcome.n_bytes:,} bytes where {outcome.remote.size:,} were "
                "expected: the list of sizes is not exact."
            )
    for reason, names in absent.items():
        print(f"The server does not give {', '.join(sorted(set(names)))}: {reason}.")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        print(f"NOT THERE: {outcome.remote.path}: {outcome.text}")
    if refused and any("HTTP 40" in outcome.text for outcome in failed):
        print(refused)
    return 1 if failed else 0


def _differs(outcome):
    """Return True where a size was wrong enough to matter to a plan."""
    expected = outcome.remote.size
    return expected is not None and abs(outcome.n_bytes - expected) > max(0.2 * expected, 1e6)


def _bytes_of(remotes):
    return sum(remote.size or 0 for remote in remotes)
