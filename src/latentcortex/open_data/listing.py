"""What a downloader has to know of a file."""

from typing import NamedTuple


class Remote(NamedTuple):
    """A file on a server, and where it goes.

    ``path`` is where it goes in the folder, with slashes. ``n_bytes`` and the hashes are None where they are
    not known for sure; ``about`` is then the size that is expected. ``optional`` says why it is normal that
    the server lacks or refuses the file; it is empty where that is not normal.
    """

    url: str
    path: str
    n_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    about: int | None = None
    optional: str = ""
