"""What a look at one part of a tree found, and how a look is taken that nothing can stop."""

import dataclasses
import re
import shlex
from pathlib import Path

from latentcortex.nsd.chapters import CHAPTERS
from latentcortex.nsd.design import sessions_on_disk
from latentcortex.nsd.files import SPACES
from latentcortex.store.first_bytes import check_first_bytes
from latentcortex.store.remote_bytes import TransferError

# What a browser or an unfinished transfer makes of a name: "a (1).tsv", "a.tsv.part".
_ODD = re.compile(r" ?\(\d+\)| - Copy|\.(part|crdownload|download|tmp)$")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one part of a tree.

    Attributes
    ----------
    part : str
        Such as "log" or "betas of session 3".
    state : {"there", "missing", "wrong", "note"}
    text : str
        What is there, or what is wrong.
    advice : str
        What to do about it; empty if nothing.
    chapters : tuple
        Keys of `chapters.CHAPTERS`: those asked for that read this part.
    subjects : tuple of str
        Empty for a part that is common to all.
    """

    part: str
    state: str
    text: str
    advice: str = ""
    chapters: tuple = ()
    subjects: tuple = ()


@dataclasses.dataclass(frozen=True)
class Asked:
    """What `inspecting.inspect` was asked: see there."""

    root: Path
    subjects: tuple
    space: str
    sessions: tuple | None
    chapters: tuple

    @property
    def origin(self):
        """Return "simulated", "imported" (written by `nsd` from other data) or "measured" (NSD itself)."""
        if (self.root / "simulation").is_dir():
            return "simulated"
        return "imported" if (self.root / "provenance.json").is_file() else "measured"

    def readers_of(self, part):
        """Return the chapters that read a part; what is no part of the table is read by all."""
        known = frozenset().union(*CHAPTERS.values())
        return tuple(c for c in self.chapters if part not in known or part in CHAPTERS[c])

    def mend(self, part=""):
        """Return what to do where a part is missing or damaged."""
        if self.origin == "simulated":
            return "Remove the tree, and let it be built again."
        if self.origin == "imported":
            return "Import the data again, into a new folder."
        if self.space not in SPACES:
            return "Download this part of NSD again from its bucket."
        words = ["latentcortex", "download", "nsd", str(self.root), "--space", self.space, "--subjects"]
        words += [name.removeprefix("subj").lstrip("0") for name in self.subjects] or ["1"]
        last = max([*(self.sessions or ()), *self._sessions_on_disk()], default=None)
        words += ["--sessions", str(last)] if last else []  # without it the command fetches all
        if part in ("images", "captions"):
            words += ["--chapters", *map(str, self.readers_of(part))]
        return shlex.join(words)

    def _sessions_on_disk(self):
        known = [name for name in self.subjects if (self.root / f"nsddata_betas/ppdata/{name}").is_dir()]
        return [session for name in known for session in sessions_on_disk(self.root, name)]


def look(asked, part, take, files=(), subject=None):
    """Take a look at a part; return its `Finding`, and what was read or None. Both None if nobody asked.

    Parameters
    ----------
    asked : Asked
    part : str
        A part of `chapters.CHAPTERS`, or what all chapters read.
    take : callable
        Returns what is there, in words, and what was read.
    files : sequence of str
        Paths of the part inside the tree. If the look fails, the finding says which of them is a web page or
        lies there under a browser's name.
    subject : str, optional
    """
    about = {"chapters": asked.readers_of(part), "subjects": (subject,) if subject else ()}
    if not about["chapters"]:
        return None, None
    try:
        text, value = take()
    except Exception as error:  # the next part is looked at, whatever damaged bytes make a library raise
        state = "missing" if isinstance(error, FileNotFoundError) else "wrong"
        return Finding(part, state, _told(asked, error, files), asked.mend(part), **about), None
    return Finding(part, "there", text, **about), value


def _told(asked, error, files):
    """Return what is wrong, by an error of a reader and a look at the files themselves."""
    text = str(error) or type(error).__name__
    for path in (asked.root / file for file in files):
        text = _as_page(path) or text
        odd = [] if path.exists() or not path.parent.is_dir() else _odd_names(path)
        if odd and odd[0].name not in text:
            text = f"{text} {odd[0].name} lies in {path.parent}: if it is whole, rename it to {path.name}."
    return text


def _odd_names(path):
    return [other for other in sorted(path.parent.iterdir()) if _ODD.sub("", other.name) == path.name]


def _as_page(path):
    """Return what to say of a file that begins like no file of its kind, or None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        begins = file.read(64)
    try:
        check_first_bytes(begins, path.name, str(path))
    except TransferError:
        shown = begins[:32].decode("ascii", "replace")
        return (
            f"{path} is not such a file: it begins with {shown!r}. A server sends a page with a login or a "
            "notice in place of a file that it does not give. Delete it."
        )
    return None
