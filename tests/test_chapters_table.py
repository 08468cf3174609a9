"""The table of what chapters read is held against the chapters' own code."""

import json
import re
from pathlib import Path

import pytest

from latentcortex.nsd.chapters import CHAPTERS, chapter_name, chapter_number, needs
from latentcortex.studies import maps

BOOK = Path(__file__).parents[1] / "book"
ATLASES = ("streams", "nsdgeneral", "prf-visualrois", "floc-faces", "floc-places", "floc-bodies")


def code_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


READ_BY = {
    "betas": r"nsd\.(betas|scaled_betas|image_responses)\(",
    "ncsnr": r"nsd\.ncsnr\(",
    "images": r"nsd\.images\(",
    "captions": r"nsd\.captions\(",
    **{atlas: rf'"{atlas}"' for atlas in ATLASES},
    "bold5000": r"open_bold5000\(",
}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_table_of_chapters_has_what_their_code_reads(chapter):
    pattern = f"{chapter}*.ipynb" if isinstance(chapter, str) else f"{chapter:02d}_*.ipynb"
    (path,) = BOOK.glob(pattern)
    code = code_of(path)
    read = {part for part, call in READ_BY.items() if re.search(call, code)}
    if re.search(r"maps\.(AREAS(?!\[)|read_worlds|areas_of\((\w+[, .]*){4}\))", code):
        read |= {"ncsnr", "betas"} | {atlas for atlas, _ in maps.AREAS.values()}
    if "maps.AREAS[" in code:
        read |= {atlas for area, (atlas, _) in maps.AREAS.items() if f'"{area}"' in code}
    if "maps.STREAMS" in code:
        read.add("streams")
    if re.search(r"without_pixels\.(targets|features_of)", code):
        read |= {"images", "captions"}
    assert read <= CHAPTERS[chapter]
    assert CHAPTERS[chapter] <= set(READ_BY)


def test_needs_are_those_of_all_chapters_together():
    assert needs([]) == frozenset()
    assert needs([2, 3]) == {
        "betas",
        "ncsnr",
        "images",
        "captions",
        "streams",
        "nsdgeneral",
        "prf-visualrois",
    }
    with pytest.raises(ValueError, match="from 1 to 15, 08b, .* got 16, x"):
        needs([1, 16, "x"])


def test_chapters_are_written_as_readers_write_them():
    assert [chapter_number(text) for text in ("5", "05", "8b", "primer_fmri")] == [5, 5, "08b", "primer_fmri"]
    assert [chapter_name(chapter) for chapter in (5, "primer_fmri")] == ["05", "primer_fmri"]
