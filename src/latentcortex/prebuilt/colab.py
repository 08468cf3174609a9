"""What the first cell of a chapter does on Google Colab, and nowhere else."""

import sys
import time
from pathlib import Path

from latentcortex import presets, store
from latentcortex.mini import build
from latentcortex.mini.naming import folder_names
from latentcortex.prebuilt.archives import DamagedArchiveError, NotUsableError, pack
from latentcortex.prebuilt.fetching import fetch, fetch_world, read_table
from latentcortex.prebuilt.publishing import write_entry

MOUNT = "/content/drive"
ON_DRIVE = "MyDrive/latentcortex"
# What building a world takes where it was not measured: on two cores, without other work.
_BUILD_SECONDS = 100


def set_up(keep_on_drive=False):
    """Prepare the simulated world on Google Colab: fetch it, or take it from the reader's Drive.

    Elsewhere, and with a preset of other data, this does nothing. The cache stays on Colab's own disk. What
    lies on Drive is one archive, because Drive is slow with many small reads and has neither hard links nor
    reliable locks.

    Parameters
    ----------
    keep_on_drive : bool
        Mount Drive, which asks for permission. Take the world from the archive there; if there is none,
        build the world and write the archive (1.8 GB).

    Raises
    ------
    ValueError
        If `keep_on_drive` is neither True nor False.
    """
    if keep_on_drive not in (True, False):
        raise ValueError(f"KEEP_ON_DRIVE is True or False, got {keep_on_drive!r}.")
    if "google.colab" not in sys.modules or presets.get().data != "mini":
        return
    if keep_on_drive:
        from google.colab import drive

        drive.mount(MOUNT)
        take_or_keep(Path(MOUNT) / ON_DRIVE)
    else:
        fetch_world()


def take_or_keep(kept, world="standard", seed=0, sizes=None):
    """Take a world from its archive in a folder, or build it and write the archive.

    Needs no locks, hard links or permissions in that folder: a file is written under another name and then
    renamed. If two sessions write at once, the last one's archive stays, and both hold the same.

    Parameters
    ----------
    kept : path
        The folder, which is made.
    world, seed, sizes
        As for `mini.build.open_tree`.

    Returns
    -------
    pathlib.Path
        The world, in the cache.
    """
    name, cache = folder_names(world, seed, sizes)[0], store.cache_folder()
    archive, table = kept / f"{name}.zip", kept / "worlds.json"
    try:
        entry = _table_on_drive(table).get(name)
        is_kept = entry is not None and archive.exists()
    except OSError as error:  # what lies there may be good: it is neither taken nor replaced
        print(f"The simulated world was not taken from Drive: {error}. It was not kept there either.")
        entry, is_kept = None, True
    if entry and is_kept and not (cache / name).is_dir():
        try:
            fetch(name, entry, cache)
        except NotUsableError as reason:
            print(f"The simulated world was not taken from Drive, because {reason}.")
            is_kept = not isinstance(reason, DamagedArchiveError)  # which is written again
    if not (cache / name).is_dir():
        fetch_world(world, seed, sizes=sizes)
    was_there, start = (cache / name).is_dir(), time.monotonic()
    root = build.open_tree(world, seed, sizes=sizes)
    if not is_kept:
        seconds = _BUILD_SECONDS if was_there else round(time.monotonic() - start, 1)
        _keep(root, archive, table, seconds)
    return root


def _keep(root, archive, table, seconds):
    """Write the archive of a world and its entry, or say why not."""
    print(f"Keeping the simulated world in {archive.parent} for the next session.")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        entry = pack(root, archive, compressed=False)  # to compress it takes as long as to build it
        if not _table_on_drive(table):
            table.unlink(missing_ok=True)
        write_entry(table, root.name, {**entry, "address": archive.name, "build_seconds": seconds})
    except OSError as error:
        print(f"It was not kept: {error}. It is here for this session.")


def _table_on_drive(path):
    """Return the table of a folder, empty if there is none or it was cut while it was uploaded."""
    try:
        return read_table(path)
    except (FileNotFoundError, ValueError):
        return {}
