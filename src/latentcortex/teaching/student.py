"""Write the notebooks of the book for students in plain Markdown, with or without solutions."""

import dataclasses
import json
from pathlib import Path

import latentcortex
from latentcortex.teaching.pages import FRONT, GLOSSARY, read_book
from latentcortex.teaching.plain import plain_notebook, plain_page

_PACKAGE = Path(latentcortex.__file__).resolve().parent


def book_folder():
    """Return the folder of the book's sources, which is inside the installed package or in the clone."""
    inside = _PACKAGE / "book"
    return inside if inside.is_dir() else _PACKAGE.parents[1] / "book"


def write_notebooks(folder, names=(), solutions="stripped", overwrite=False, source=None):
    """Write plain copies of the book's notebooks and its glossary into a folder.

    The front page is left out, because it is not run. Links between notebooks that are written together lead
    to the copies. Other links lead to the project's address. Everything is converted and all paths are
    checked before the first file is written.

    Parameters
    ----------
    folder : path
        Folder to write to. It is made if it does not exist.
    names : str or sequence of str
        Names of notebooks, or how they begin, such as ``"05"``. By default all, and the glossary.
    solutions : {"stripped", "folded"}
    overwrite : bool
        Whether existing files are replaced.
    source : path, optional
        Folder of the book. By default `book_folder`.

    Returns
    -------
    list of path
        The files that were written.

    Raises
    ------
    ValueError
        If a name fits no notebook or several, or if a notebook cannot be converted. Also if the folder is
        that of the book's sources, because the copies would replace them.
    FileExistsError
        If a file exists already, or if the folder is a file.
    """
    source, folder = book_folder() if source is None else Path(source), Path(folder)
    if folder.resolve() == source.resolve():
        raise ValueError(f"{folder} holds the sources of the book. Name another folder for the copies.")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Name a folder for the copies.")
    available = sorted(path for path in source.glob("*.ipynb") if path.name != FRONT)
    names = [names] if isinstance(names, str) else names
    chosen = [_find(name, available) for name in names] or available
    book = dataclasses.replace(read_book(source), copied=frozenset(path.name for path in chosen))
    texts = {path.name: _notebook(path, book, solutions) for path in chosen}
    if not names and (source / GLOSSARY).is_file():
        texts[GLOSSARY] = plain_page((source / GLOSSARY).read_text(encoding="utf-8"), GLOSSARY, book)
    there = [name for name in texts if (folder / name).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{folder} already has {', '.join(there)}, so nothing was written. Name another folder, or "
            "replace these files with --force."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def add_arguments(parser):
    """Add the arguments of `run` to a parser."""
    parser.description = (
        "Write the chapters as notebooks for students: in plain Markdown, which Colab, JupyterLab and VS "
        "Code can show, and without the solutions of the exercises."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the notebooks are written")
    parser.add_argument(
        "names",
        nargs="*",
        default=(),
        metavar="NAME",
        help="of chapters, such as 05 or 05_decode_latents; default: all",
    )
    parser.add_argument("--solutions", action="store_true", help="keep the solutions, folded")
    parser.add_argument("--force", action="store_true", help="replace notebooks that are already there")


def run(args):
    """Write the notebooks that the arguments of `add_arguments` ask for, and print what was written."""
    solutions = "folded" if args.solutions else "stripped"
    written = write_notebooks(args.folder, args.names, solutions, args.force)
    print(f"Wrote {len(written)} files to {args.folder}; solutions are {solutions}.")


def _find(name, available):
    stem = name.removesuffix(".ipynb")
    found = [p for p in available if p.stem == stem] or [p for p in available if p.stem.startswith(stem)]
    if len(found) != 1:
        fault = f"{len(found)} notebooks begin" if found else "No notebook begins"
        raise ValueError(f"{fault} with {name!r}. There are: {', '.join(p.stem for p in available)}.")
    return found[0]


def _notebook(path, book, solutions):
    """Return the text of a plain copy."""
    new = plain_notebook(json.loads(path.read_text(encoding="utf-8")), path.name, book, solutions)
    return json.dumps(new, indent=1, ensure_ascii=False) + "\n"
