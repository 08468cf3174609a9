"""Plain copies of the chapters: what each construct becomes, and that no MyST is left in any of them."""

import json
import re
from pathlib import Path

import pytest

from latentcortex.teaching import plain_notebook, plain_page, read_book
from latentcortex.teaching.pages import PICTURES, PLAIN, SOURCES

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))
BIB = """
@article{one2001, author = {B{\\"a}r, Ada}, year = 2001, doi = {10.1/a(b)c}}
@book{two2002, author = {Bo {Le Roi} and Cem S\\o{}rensen}, year = {2002}, url = {https://a.org/x}}
@misc{many2003, author = "D, D. and E, E. and F, F.", year = "2003"}
"""
GLOSSARY = """# Glossary

```{glossary}
noise ceiling
  What a {term}`beta` can reach.

`beta`
  One number.
  A second line.
```
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of two chapters, a glossary and a bibliography."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "references.bib").write_text(BIB)
    (folder / "glossary.md").write_text(GLOSSARY)
    (folder / "api.md").write_text("# The package\n")
    write(folder / "01_look_here.ipynb", "# Look here\n\n(here)=\n## A place\n")
    write(folder / "02_look_there.ipynb", "# Look there\n\n(there)=\n## Another place\n")
    return read_book(folder)


def markdown(text):
    return {"cell_type": "markdown", "id": "m", "metadata": {}, "source": text.splitlines(keepends=True)}


def write(path, *texts):
    path.write_text(json.dumps({"cells": list(map(markdown, texts))}))


def converted(text, book, solutions="folded"):
    new = plain_notebook({"cells": [markdown(text)]}, "01_look_here.ipynb", book, solutions)
    return "".join("".join(cell["source"]) for cell in new["cells"])


# Known answers ----------------------------------------------------------------------------------

TERM = f"{PLAIN}/glossary.md"
DOI = "https://doi.org/10.1/a%28b%29c"


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("{cite:t}`one2001` saw", f"[Bär (2001)]({DOI}) saw"),
        ("seen {cite:p}`one2001`", f"seen ([Bär, 2001]({DOI}))"),
        ("{cite:t}`two2002`", "[Le Roi and Sørensen (2002)](https://a.org/x)"),
        ("{cite:p}`many2003, two2002`", "(D et al., 2003; [Le Roi and Sørensen, 2002](https://a.org/x))"),
        ("a {term}`beta`", f"a [beta]({TERM}#beta)"),
        ("{term}`Ceilings\n<noise ceiling>`", f"[Ceilings]({TERM}#noise-ceiling)"),
        ("{abbr}`BOLD (blood)`", "BOLD (blood)"),
        ("{math}`x`, {sup}`2`, {kbd}`A`", "$x$, <sup>2</sup>, <kbd>A</kbd>"),
        ("{py:func}`~nsd.betas`", "`nsd.betas`"),
        ("{doc}`02_look_there`", "[Look there](02_look_there.ipynb)"),
        ("{doc}`that <02_look_there>`", "[that](02_look_there.ipynb)"),
        ("{ref}`there`", "[Another place](02_look_there.ipynb#there)"),
        ("{ref}`this <here>`", "[this](#here)"),
        ("[x](02_look_there.ipynb#there)", "[x](02_look_there.ipynb#there)"),
        ("[](02_look_there.ipynb)", "[Look there](02_look_there.ipynb)"),
        ("[](#there)", "[Another place](02_look_there.ipynb#there)"),
        ("[x](glossary.md)", f"[x]({TERM})"),
        ("[x](api.md)", f"[x]({SOURCES}/api.md)"),
        ("[x](https://a.org/b_(c))", "[x](https://a.org/b_(c))"),
        ("![alt](webassets/a.png)", f"![alt]({PICTURES}/webassets/a.png)"),
        ("code ``{term}`beta` `` stays", "code ``{term}`beta` `` stays"),
        ("$f[a](b)$ stays, `x[0](1)` stays", "$f[a](b)$ stays, `x[0](1)` stays"),
        ("text\n\n    hub[x](y)\n\nmore", "text\n\n    hub[x](y)\n\nmore"),
        ("- one\n\n    a {term}`beta`", f"- one\n\n    a [beta]({TERM}#beta)"),
        ("$$\nx\n$$ (eq-one)", "$$\nx\n$$"),
        ("% a comment\ntext", "text"),
        ("(here)=\n## A place", '<a id="here"></a>\n\n## A place'),
        (":::{note}\nOne.\n\nTwo.\n:::", "> **Note**\n>\n> One.\n>\n> Two."),
        ("```{important} One.\n```", "> **Important**\n>\n> One."),
        (":::{admonition} A `t`\n:class: tip\nx\n:::", "> **A `t`**\n>\n> x"),
        (":::{tip}\n:class: dropdown\nx\n:::", "<details>\n<summary>Tip</summary>\n\nx\n\n</details>"),
        (
            ":::{dropdown} Is `a` < *b*?\nx\n:::",
            "<details>\n<summary>Is <code>a</code> &lt; <i>b</i>?</summary>\n\nx\n\n</details>",
        ),
        ("::::{note}\n:::{tip}\nx\n:::\n::::", "> **Note**\n>\n> > **Tip**\n> >\n> > x"),
        ("- one\n  ```{note}\n  x\n  ```", "- one\n\n  > **Note**\n  >\n  > x"),
        ("```{math}\n:label: e\nx\n```", '<a id="e"></a>\n\n$$\nx\n$$'),
        ("```{figure} f/a.png\n:alt: An a.\nBelow.\n```", f"![An a.]({PICTURES}/f/a.png)\n\nBelow."),
        ("```{code-block} python\na = 1\n```", "```python\na = 1\n```"),
        ("```python\nf'{x}`y`'\n(a)=\n```", "```python\nf'{x}`y`'\n(a)=\n```"),
        (
            "::::{grid} 1 2\n:::{grid-item-card} T\n:link: 02_look_there\n:link-type: doc\nx\n:::\n::::",
            "**[T](02_look_there.ipynb)**\n\nx",
        ),
    ],
)
def test_each_construct_becomes_what_is_known(source, plain, book):
    assert converted(source, book) == plain


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{unheard}`x`", "{unheard}"),
        ("```{unheard} x\ny\n```", "{unheard}"),
        (":::{solution-start} x\n:::", "{solution-start}"),
        (":::{note}\n```{unheard}\n```\n:::", "{unheard}"),
        ("> ```{unheard}\n> ```", "```{unheard}"),
        (":::\nx\n:::", "no name"),
        ("```{note}\nx", "never closed"),
        ("{cite:t}`nobody1999`", "nobody1999"),
        ("{term}`voxel`", "voxel"),
        ("{ref}`nowhere`", "nowhere"),
        ("[x](03_look_away.ipynb)", "03_look_away.ipynb"),
        ("[x](02_look_there.ipynb#nowhere)", "nowhere"),
        ("[x](#another-place)", "another-place"),
        ("[a {term}`beta`](#a-place)", "a link inside a link"),
        ("{{ name }}", "substitution"),
        ("a note[^1]", "footnote"),
        ('<img src="webassets/a.png">', "relative link in HTML"),
        ("```{note}\n---\nclass: x\n---\n```", "lines of dashes"),
    ],
)
def test_what_is_not_known_is_refused_and_named_with_its_cell(source, name, book):
    with pytest.raises(ValueError, match=r"01_look_here.ipynb, cell 0 \(m\)") as refused:
        converted(source, book)
    assert name in str(refused.value)


EXERCISE = """## Exercises

```{exercise} A name
:label: meet-name

What if?
```

````{solution} meet-name
:class: dropdown
```python
x = 1
```
Then *that*.
````

```{exercise}
:label: meet-none
And now?
```
"""
FOLDED = """## Exercises

<a id="meet-name"></a>

### Exercise 1: A name

What if?

<details>
<summary>Solution</summary>

```python
x = 1
```

Then *that*.

</details>

<a id="meet-none"></a>

### Exercise 2

And now?"""


def test_exercises_are_numbered_and_solutions_folded_or_gone(book):
    assert converted(EXERCISE, book) == FOLDED
    stripped = re.sub(r"<details>.*</details>\n\n", "", FOLDED, flags=re.DOTALL)
    assert converted(EXERCISE, book, "stripped") == stripped
    with pytest.raises(ValueError, match="folded or stripped, got 'shown'"):
        converted(EXERCISE, book, "shown")


def test_a_markdown_viewer_reads_what_is_inside_a_solution():
    render = (
        pytest.importorskip("markdown_it", reason="needs the extra `book`").MarkdownIt("commonmark").render
    )
    inside = render(FOLDED).split("<details>")[1].split("</details>")[0]
    assert '<code class="language-python">x = 1' in inside and "<em>that</em>" in inside


def test_the_glossary_has_a_heading_for_each_term_and_links_within_the_page(book):
    assert plain_page(GLOSSARY, "glossary.md", book) == (
        "# Glossary\n\n### noise ceiling\n\nWhat a [beta](#beta) can reach.\n\n"
        "### `beta`\n\nOne number.\nA second line.\n"
    )


def test_code_cells_keep_their_source_and_those_the_book_folds_are_folded(book):
    hidden = {"cell_type": "code", "metadata": {"tags": ["hide-cell"]}, "source": ["{term}`beta`"]}
    shown = {"cell_type": "code", "metadata": {"tags": ["skip-execution"]}, "source": ["x = 1"]}
    source = {"cells": [hidden, shown, markdown(":::{contents}\n:::")], "nbformat": 4}
    before = json.dumps(source)
    new = plain_notebook(source, "01_look_here.ipynb", book)
    folded = {"tags": ["hide-cell"], "jupyter": {"source_hidden": True}, "cellView": "form"}
    assert new == {"cells": [hidden | {"metadata": folded}, shown], "nbformat": 4}
    assert json.dumps(source) == before, "the source was changed"


# Every chapter ----------------------------------------------------------------------------------

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
MYST = {
    "role": r"\{[\w:.+-]+\}`",
    "directive": r"^[\s>]*(?::{3,}|`{3,}\s*\{|~{3,}\s*\{)",
    "option": r"^\s*:[\w-]+:(\s|$)",
    "label": r"^\([^()\s]+\)=",
}


@pytest.fixture(scope="module")
def whole():
    return read_book(BOOK)


def prose(notebook):
    texts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join(texts)


def codes(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


@each_chapter
def test_nothing_of_myst_is_left_in_a_chapter(path, whole):
    source = json.loads(path.read_text())
    new = plain_notebook(source, path.name, whole)
    assert codes(new) == codes(source)
    for name, pattern in MYST.items():
        found = re.findall(f"{pattern}.*", prose(new), re.MULTILINE)
        assert not found, f"{name}: {found[0]}"


@each_chapter
def test_every_solution_of_a_chapter_folds_and_can_be_stripped(path, whole):
    source = json.loads(path.read_text())
    bodies = re.findall(r"^(`{3,})\{solution\}[^\n]*\n(?::[^\n]*\n)*\s*(.*?)^\1$", prose(source), re.M | re.S)
    folded, stripped = (prose(plain_notebook(source, path.name, whole, s)) for s in ("folded", "stripped"))
    boxes = re.findall(
        r"^<details>\n<summary>Solution</summary>\n\n(.*?)\n\n</details>$", folded, re.M | re.S
    )
    assert len(boxes) == len(bodies) == prose(source).count("{solution}")
    outside = re.sub(r"<details>.*?</details>", "", folded, flags=re.S)
    for _, body in bodies:
        line = max(body.splitlines(), key=len)
        assert line in "".join(boxes) or re.search(r"[\[{]", line), line
        assert line not in outside and line not in stripped
    assert "<summary>Solution" not in stripped


@each_chapter
def test_links_of_a_chapter_lead_to_pages_that_exist(path, whole):
    text = prose(plain_notebook(json.loads(path.read_text()), path.name, whole))
    plain = re.sub(r"`[^`\n]*`|^ {4}.*$|^```.*?^```$", "", text, flags=re.M | re.S)
    targets = re.findall(r"\]\(([^()\s]+)\)", plain)
    assert targets or not re.match(r"\d\d", path.name), "every chapter links another one, or a paper"
    for target in targets:
        name = target.partition("#")[0]
        known = name.startswith("https://") or not name or (BOOK / name).is_file()
        assert known, target
