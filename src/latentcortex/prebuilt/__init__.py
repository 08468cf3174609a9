"""Fetch what is slow to build of a simulated world, and keep the world for the next session.

Half of the time that a world takes to build goes into drawing its scenes, which take only 13 MB when they are
packed. `worlds.json` lists the archives that are published, by the name of the folder that they hold. Nothing
is fetched unless a reader asks for it, by the set-up cell on Google Colab or by ``latentcortex fetch-world``.

- `archives`: `pack` a folder of the cache into one file, and `unpack` it.
- `fetching`: `fetch_world`, which stops when building would be faster.
- `publishing`: `publish`, which makes an archive and its entry in the table.
- `colab`: `set_up`, which the first cell of a chapter calls.
"""

from latentcortex.mini.naming import folder_names
from latentcortex.prebuilt.archives import DamagedArchiveError, NotUsableError, TooSlowError, pack, unpack
from latentcortex.prebuilt.colab import set_up
from latentcortex.prebuilt.fetching import fetch, fetch_world, read_table
from latentcortex.prebuilt.publishing import publish

__all__ = [
    "DamagedArchiveError",
    "NotUsableError",
    "TooSlowError",
    "fetch",
    "fetch_world",
    "folder_names",
    "pack",
    "publish",
    "read_table",
    "set_up",
    "unpack",
]
