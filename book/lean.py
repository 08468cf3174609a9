"""Sphinx extension: leave out of the pages what no reader of this book uses.

Named in ``_config.yml``. Without it every page declares the settings of Thebe twice, which the browser
reports as an error, and more than half of the site is MathJax in forms that no page loads and second
copies of all outputs.
"""

import nbformat
from docutils import nodes

# Paths below `_static/mathjax` that a page may load: the one bundle that pages name, its fonts, TeX packages
# that are fetched when a formula needs them, and what reads formulas aloud, in English.
MATHJAX_KEPT = (
    *("tex-chtml.js", "output/chtml/fonts/", "input/tex/extensions/", "a11y/", "ui/"),
    *("sre/mathmaps/base.json", "sre/mathmaps/en.json", "sre/mathmaps/nemeth.json"),
)


def is_kept(path):
    """Return whether a file of MathJax may be loaded by a page; `path` is relative, with slashes."""
    return any(path == kept or (kept.endswith("/") and path.startswith(kept)) for kept in MATHJAX_KEPT)


def without_thebe(app, pagename, templatename, context, doctree):  # noqa: ARG001
    """Take Thebe's scripts and settings from a page, for which it has no button.

    They are written by `sphinx_thebe`, which Jupyter Book always loads, for each page and twice. The theme's
    colour mode is set here, too: without a default it reports an error at a reader's first visit.
    """
    scripts = context.get("script_files", [])
    scripts[:] = [s for s in scripts if "thebe" not in f"{s} {getattr(s, 'attributes', {})}".lower()]
    context["css_files"] = [s for s in context.get("css_files", []) if "thebe" not in str(s)]
    context["default_mode"] = context.get("default_mode") or "auto"


def with_plain_lists(app, pagename, templatename, context, doctree):  # noqa: ARG001
    """Take the role of a list from lists of references, because Sphinx gives their entries none of its items.

    A screen reader would announce an empty list. The entries keep their role of entries of a bibliography.
    """
    body = context.get("body", "")
    context["body"] = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def without_thebe_settings(app, doctree, docname):  # noqa: ARG001
    """Remove the settings of Thebe from a document, where they stand as a script that nothing reads."""
    for node in list(doctree.findall(nodes.raw)):
        if "text/x-thebe-config" in node.astext():
            node.parent.remove(node)


def lighten(folder):
    """Remove from built pages what none of them loads, and the outputs of the notebooks for download.

    Parameters
    ----------
    folder : Path
        The built pages, with ``_static`` and ``_sources``. Each page holds the outputs of its notebook; a
        notebook is downloaded to be run.
    """
    mathjax = folder / "_static" / "mathjax"
    for path in sorted(mathjax.rglob("*"), reverse=True):
        if path.is_file() and not is_kept(path.relative_to(mathjax).as_posix()):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for path in folder.glob("_static/*thebe*"):
        path.unlink()
    for path in folder.glob("_sources/**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, path)


def lighten_built(app, error):
    """Lighten the pages that a build has written; see `lighten`."""
    if error is None and app.builder.format == "html":
        lighten(app.outdir)


def setup(app):
    """Tell Sphinx when to call which of the functions above."""
    # Late, because others still add scripts to the page, and write files when the build is finished.
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("html-page-context", with_plain_lists, priority=900)
    app.connect("doctree-resolved", without_thebe_settings, priority=900)
    app.connect("build-finished", lighten_built, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
