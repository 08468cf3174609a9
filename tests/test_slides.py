"""Slides show what the built book shows: questions, pictures with their descriptions, numbers, in order."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

for package in ("markdown_it", "mdit_py_plugins", "pybtex", "yaml"):
    pytest.importorskip(package, reason="needs the extra `book`")
from PIL import Image  # noqa: E402

BOOK = Path(__file__).parents[1] / "book"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(BOOK)  # the scripts find each other there
    import minutes
    import slides
    import slides_pictures
    import slides_text

CHAPTERS = [p for p in sorted(BOOK.glob("*.ipynb")) if re.match(r"\d\d|primer_", p.name)]


def png(height=20, width=40):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def words(text):
    return {"cell_type": "markdown", "metadata": {}, "source": [text]}


def code(data, alt="", tags=()):
    metadata = {"tags": list(tags), "mystnb": {"image": {"alt": alt}}}
    return {"cell_type": "code", "metadata": metadata, "source": [], "outputs": [{"data": d} for d in data]}


def bare(text):
    """Return HTML without the spans around formulas."""
    return re.sub(r"</?span[^>]*>", "", text)


@pytest.fixture
def notebook():
    """A chapter with two pictures, a table, a slider, and things that are not for slides."""
    return {
        "cells": [
            words(
                "# Ask $z$\n\n[Open in Colab](https://x.org)\n\n"
                "**Who <knows> {cite:t}`a2023`?** In short: nobody."
            ),
            code([{"image/png": png()}], "hidden", ["hide-cell"]),
            words("## What comes out\n\nOne more. First. *Second* is $z_c$ at 0.5."),
            code([{"image/png": png()}], 'A "red" box'),
            words("**You will learn**\n\n- to ask;\n- to see.\n\n**You need** nothing."),
            words("## A table\n\nRead it by row."),
            code([{"text/html": "<table><tr><td>7</td></tr></table>", "text/plain": "x"}]),
            code([{"text/html": "<input type=range><script>1</script>"}]),
            words("## All numbers\n\nAside."),
            code([{"image/png": png()}], "aside"),
            words("## Summary\n\nFirst the numbers:"),
            code([{"text/markdown": "- *z* knows 0.50 [0.40, 0.60]"}]),
            words("**Who knows?** $z$ does."),
            words("## Exercises\n\nNo."),
            code([{"image/png": png()}], "exercise"),
        ]
    }


def test_the_frames_of_a_chapter(notebook):
    found = slides.frames(notebook, lambda key: f"<{key}>", "Why **so**?")
    kinds = ("title", "figure wide", "points", "table", "live", "words", "words", "question")
    assert tuple(f.kind for f in found) == kinds
    title, picture, aims, table, slider, numbers, answer, question = found
    assert bare(title.heading) == "Ask <i>z</i>"
    assert title.lead == "Who &lt;knows&gt; &lt;a2023&gt;?"
    assert picture.heading == "What comes out"
    assert bare(picture.lead) == "One more. First. <em>Second</em> is <i>z</i><sub><i>c</i></sub> at 0.5."
    assert 'alt="A &quot;red&quot; box"' in picture.content and picture.note == "A &quot;red&quot; box"
    assert aims.content.count("<li>") == 2
    assert (table.lead, "<td>7</td>" in table.content) == ("Read it by row.", True)
    assert "<input" in slider.content
    assert "0.50 [0.40, 0.60]" in numbers.content
    assert bare(answer.content) == "<p><strong>Who knows?</strong> <i>z</i> does.</p>"
    assert question.content == "<p>Why <strong>so</strong>?</p>"


def test_a_long_chapter_keeps_its_pictures_first(notebook):
    pictures = [code([{"image/png": png()}], f"picture {k}") for k in range(9)]
    tables = [code([{"text/html": "<table><tr><td>7</td></tr></table>"}]) for _ in range(3)]
    notebook["cells"][4:4] = tables + pictures
    found = slides.frames(notebook, str, "Why?")
    assert len(found) == slides.MOST_FRAMES
    assert [f.note for f in found if f.note] == ["A &quot;red&quot; box", *(f"picture {k}" for k in range(6))]
    assert {"table", "live"}.isdisjoint(f.kind for f in found)


def test_a_deck_is_one_file_that_asks_nothing_of_the_network(notebook):
    page = slides.deck("05_ask", slides.frames(notebook, str, "Why?"))
    assert "<title>05 Ask z</title>" in page and "Simulated data." in page
    assert page.count('<section class="frame') == 8 and 'aria-label="8 of 8"' in page
    addresses = re.findall(r'(?:src|href)="([^"]{0,12})|url\(([^)]{0,12})|@import', page)
    assert addresses and all(a.startswith("data:image/p") for a, _ in addresses)


def test_decks_of_a_built_book(notebook, tmp_path):
    executed, folder, book = tmp_path / "executed", tmp_path / "slides", tmp_path / "book"
    for path in (executed, book):
        path.mkdir()
    (book / "references.bib").write_text("@article{a2023, author={Xu, A and Lee, B}, title={T}, year={2023}}")
    (book / "teach.md").write_text("### [05 Ask](05_ask_it.ipynb)\n\n**Discuss.** Is\nit so?\n\nOther.\n")
    with pytest.raises(FileNotFoundError, match="make book"):
        slides.write_decks(executed, folder, book)
    for name in ("05_ask_it", "primer_ask", "all_numbers"):
        (executed / f"{name}.ipynb").write_text(json.dumps(notebook))
    assert [p.name for p in slides.write_decks(executed, folder, book)] == ["05.html", "primer_ask.html"]
    page = (folder / "05.html").read_text()
    assert "<p>Is it so?</p>" in page and "Xu and Lee 2023" in page
    assert 'href="05.html"' in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("z", "<i>z</i>"),
        ("x_0", "<i>x</i><sub>0</sub>"),
        (r"\kappa^{12}", "<i>κ</i><sup>12</sup>"),
        (r"a \times b < 3", "<i>a</i> ×<i>b</i> &lt; 3"),
        (r"\frac{a}{b}", r"<code>\frac{a}{b}</code>"),
    ],
)
def test_short_formulas(tex, expected):
    assert slides_text.formula(tex) == expected


def test_a_citation_without_an_entry_is_named(tmp_path):
    path = tmp_path / "r.bib"
    path.write_text("@article{a, author={Xu, A and {Agüera y Arcas}, B and Z, C}, title={T}, year={2023}}")
    cite = slides_text.bibliography(path)
    assert cite("a") == "Xu et al. 2023"
    with pytest.raises(KeyError, match="no entry 'b'"):
        cite("b")


def test_stacked_panels_stand_side_by_side():
    pixels = np.full((900, 300, 3), 255, "u1")
    for top in (10, 310, 610):
        pixels[top : top + 280] = np.arange(300)[None, :, None] % 250
    parts = slides_pictures.columns(Image.fromarray(pixels))
    assert [part.size for part in parts] == [(300, 300)] * 3
    # Nothing is lost or moved.
    np.testing.assert_array_equal(np.concatenate([np.asarray(part) for part in parts]), pixels)
    full = np.tile((np.arange(300) % 250).astype("u1")[None, :, None], (900, 1, 3))
    assert len(slides_pictures.columns(Image.fromarray(full))) == 1, "there is no empty row to cut at"
    broad = np.hstack([pixels[:590], pixels[:590, :200]])
    assert len(slides_pictures.columns(Image.fromarray(broad))) == 1, "hardly larger in two columns"


# The page for teachers --------------------------------------------------------------------------


def test_every_chapter_has_a_question_for_discussion():
    asked = slides.questions((BOOK / "teach.md").read_text())
    assert set(asked) == {p.stem for p in CHAPTERS}
    assert all(question.rstrip().endswith("?") for question in asked.values())


def test_minutes_follow_the_rule():
    cells = [
        words("# T\n\n" + "word " * 400),
        {**code([]), "source": ["fig, ax = plt.subplots()\n" + "x = 1\n" * 19]},
        words("## Next\n\n" + "word " * 200),
        {**code([], tags=["hide-input"]), "source": ["plt.subplots()\n" + "x = 1\n" * 19]},
        words("## All numbers"),
        {**code([]), "source": ["plt.subplots()"]},
        words("## Exercises\n\n```{exercise} Predict before you run: a\n```\n\n```{exercise} b\n```\n"),
    ]
    sections, exercises = minutes.minutes({"cells": cells})
    # The title counts as a word.
    assert sections == {"Opening": pytest.approx(401 / 200 + 2 + 1), "Next": pytest.approx(201 / 200 + 1)}
    assert exercises == 5 + 10


def test_the_table_of_minutes_is_not_out_of_date():
    def totals(text):
        return {m[1]: int(m[2]) for m in re.finditer(r"^\| \[.*?\]\((\w+)\.ipynb\) \| (\d+) \|", text, re.M)}

    page = (BOOK / "teach.md").read_text().split(minutes.BEGIN)[1].split(minutes.END)[0]
    shown, now = totals(page), totals(minutes.table())
    off = {k for k in now if abs(now[k] - shown.get(k, 0)) > max(3, 0.15 * now[k])}
    assert shown.keys() == now.keys() and not off, f"run `python book/minutes.py`: {sorted(off)}"
