"""Make an archive of a simulated world and its entry in the table, for those who publish the book."""

import json
import shutil
import tempfile
import time
import uuid
from pathlib import Path

from latentcortex.mini import build
from latentcortex.mini.naming import folder_names
from latentcortex.prebuilt.archives import pack

# Archives outlive versions, because a world belongs to the code of `mini` alone. So they lie at a release of
# their own.
RELEASE = "https://github.com/latent-cortex/latent-cortex/releases/download/worlds"


def publish(folder, world="standard", seed=0, whole=False, sizes=None):
    """Build a world from nothing, pack its scenes, and write the table of archives next to them.

    The world is built twice, the second time with the scenes there, because the table says how long building
    what the archive holds takes.

    Parameters
    ----------
    folder : path
        Gets the archive and ``worlds.json``, in which the entries of other archives stay.
    world, seed, sizes
        As for `mini.build.open_tree`.
    whole : bool
        Pack the whole world instead (1.2 GB).

    Returns
    -------
    pathlib.Path
        The archive.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    world_name, scenes_name = folder_names(world, seed, sizes)
    name = world_name if whole else scenes_name
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        whole_seconds = _seconds(cache, world, seed, sizes)
        archive = folder / f"{name}.zip"
        entry = pack(Path(cache) / name, archive)
        if whole:
            seconds = whole_seconds
        else:
            shutil.rmtree(Path(cache) / world_name)
            seconds = max(0.0, whole_seconds - _seconds(cache, world, seed, sizes))
    entry |= {"address": f"{RELEASE}/{archive.name}", "build_seconds": round(seconds, 1)}
    write_entry(folder / "worlds.json", name, entry)
    return archive


def _seconds(cache, world, seed, sizes):
    start = time.monotonic()
    build.open_tree(world, seed, cache=cache, sizes=sizes)
    return time.monotonic() - start


def write_entry(path, name, entry):
    """Put an entry into a table of archives, which is made if it is not there."""
    path = Path(path)
    table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    text = json.dumps({**table, name: entry}, indent=1, sort_keys=True) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def add_arguments(parser):
    """Add the arguments of `run` to a parser."""
    parser.description = (
        "Build a simulated world, pack its scenes into an archive, and write the table of archives next to "
        "it. For those who publish the book; takes some minutes."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the archive is written")
    parser.add_argument("--world", default="standard", choices=build.cortex.WORLDS)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--whole", action="store_true", help="pack the whole world (1.2 GB)")


def run(args):
    """Publish what the arguments of `add_arguments` ask for, and say what to do with it."""
    archive = publish(args.folder, args.world, args.seed, args.whole)
    print(
        f"Wrote {archive} ({archive.stat().st_size / 1e6:.1f} MB) and {args.folder / 'worlds.json'}.\n"
        f"Upload the archive to {RELEASE}/ and commit the table as src/latentcortex/prebuilt/worlds.json."
    )
