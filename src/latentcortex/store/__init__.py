"""Store arrays on disk together with their image ids and their provenance.

- `arrays`: `save`, `load` and `provenance` of one file that holds everything.
- `rows`: `rows_of`, which finds rows by image id.
- `keys`: `source_hash`, which names a result by the code and the settings that it depends on.
- `writing`: `replacing` a file at once, folders that can be written to, free space.
- `damage`: hashes of files, and errors that name the damaged file.
- `cache`: where results that can be computed again are kept, what lies there, how to remove it.
"""

from latentcortex.store.arrays import image_ids, load, provenance, save
from latentcortex.store.cache import CacheEntry, cache_contents, cache_folder, expanded_path, remove_cached
from latentcortex.store.damage import (
    DamagedFileError,
    check_files,
    check_seal,
    naming_damage,
    note_files,
    read_weights,
    seal,
    with_room_for_seal,
)
from latentcortex.store.keys import code_text, source_hash
from latentcortex.store.rows import rows_of
from latentcortex.store.writing import check_space, flush, free_bytes, in_words, make_folder, replacing

__all__ = [
    "CacheEntry",
    "DamagedFileError",
    "cache_contents",
    "cache_folder",
    "check_files",
    "check_seal",
    "check_space",
    "code_text",
    "expanded_path",
    "flush",
    "free_bytes",
    "image_ids",
    "in_words",
    "load",
    "make_folder",
    "naming_damage",
    "note_files",
    "provenance",
    "read_weights",
    "remove_cached",
    "replacing",
    "rows_of",
    "save",
    "seal",
    "source_hash",
    "with_room_for_seal",
]
