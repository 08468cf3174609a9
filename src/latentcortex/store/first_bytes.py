"""Tell a page that a server sends in place of a file by its first bytes."""

import re
from pathlib import PurePosixPath

from latentcortex.store.remote_bytes import TransferError

_HDF5, _GZIP, _ZIP = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"PK"
# What a file of this kind begins with; (b"\0\0\0\1" is version 1 of FreeSurfer's MGH format).
_BEGINNINGS = {
    ".gz": (_GZIP,),
    ".mgz": (_GZIP,),
    ".mgh": (b"\0\0\0\1",),
    ".hdf5": (_HDF5,),
    ".h5": (_HDF5,),
    ".zip": (_ZIP,),
    ".npz": (_ZIP,),
    ".npy": (b"\x93NUMPY",),
    ".mat": (b"MATLAB ", _HDF5),
    ".json": (b"{", b"["),
}
_PAGE = re.compile(rb"<(!doctype|html|head|body|script|\?xml)", re.IGNORECASE)


def check_first_bytes(begins, path, whence):
    """Raise `TransferError` if a file begins like a web page, or unlike all files of its kind.

    Parameters
    ----------
    begins : bytes
        The first bytes of the file, 64 where it has as many.
    path : str
        Its name, whose ending tells the kind.
    whence : str
        Where it comes from, for the message.
    """
    kind = PurePosixPath(path).suffix.lower()
    text = begins.removeprefix(b"\xef\xbb\xbf").lstrip()
    shown = begins[:32].decode("ascii", "replace")
    if kind not in (".html", ".xml") and _PAGE.match(text):
        raise TransferError(
            f"{whence} is a web page, not the file {path}: it begins with {shown!r}. That is a login, a test "
            "for robots or a notice. Open the address in a browser to see which; a file that you save from "
            "there under this path is taken as it is by the next run."
        )
    expected = _BEGINNINGS.get(kind, ())
    if expected and not (text if kind == ".json" else begins).startswith(expected):
        raise TransferError(
            f"{whence} is no {kind} file: it begins with {shown!r}, expected {expected[0]!r}. Has the file "
            "moved? See the page of the data set."
        )
