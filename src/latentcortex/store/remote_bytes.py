"""Bytes of a file on a web server: one request, and what can go wrong with it, told by kind.

`opened` asks for a whole file or for a range of it. `read_range` returns a short range, `RangeFile` makes a
remote file look like a local one to libraries that seek, such as h5py.
"""

import contextlib
import email.utils
import io
import random
import re
import threading
import time

import requests
import urllib3

_PIECE = 2**16  # bytes taken from the connection at once
_SLOWEST = 100  # bytes per second: a server that gives less has stalled
_LONGEST_PAUSE = 60.0  # seconds
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_thread = threading.local()


class TransferError(RuntimeError):
    """A file can't be had; the message says why and what to do."""


class PassingError(TransferError):
    """A fault that may pass: ask again, after `seconds` if the server named a time."""

    def __init__(self, text, seconds=None):
        super().__init__(text)
        self.seconds = seconds


class ChangedError(TransferError):
    """The file on the server is not the one that was begun."""


class NoRangesError(TransferError):
    """The server sends whole files only."""


class RefusedError(TransferError):
    """The server won't give the file, or does not have it; `status` says which."""

    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


class Answer:
    """What a server sends: the bytes of a file from `start` on.

    Attributes
    ----------
    start : int
        Place in the remote file of the first byte that comes. It is 0, whatever was asked for, where a server
        sends whole files only.
    total : int or None
        Bytes of the whole remote file, if the server tells.
    state : dict
        etag, last_modified and total: what the next request for this file has to agree with.
    """

    def __init__(self, response, start, stop, total, timeout):
        self._response, self._timeout = response, timeout
        self.start, self.total = start, total
        self._n_bytes = stop - start if stop is not None else None
        headers = response.headers
        self.state = {
            "etag": headers.get("ETag"),
            "last_modified": headers.get("Last-Modified"),
            "total": total,
        }

    def pieces(self):
        """Yield bytes as they come; raise `PassingError` if they end early or come to a halt."""
        left, raw = self._n_bytes, self._response.raw
        read = getattr(raw, "read1", raw.read)  # read1 returns what is there, so that a halt is noticed
        since, n_since = time.monotonic(), 0
        while left is None or left > 0:
            with _passing(self._response.url):
                piece = read(_PIECE if left is None else min(_PIECE, left), decode_content=False)
            if not piece:
                if left is None and self._response.headers.get("Transfer-Encoding") == "chunked":
                    return  # its last chunk came, or reading would have raised
                raise PassingError(f"{self._response.url} ended early")
            left = None if left is None else left - len(piece)
            n_since += len(piece)
            yield piece
            elapsed = time.monotonic() - since
            if elapsed > self._timeout:
                if n_since < _SLOWEST * elapsed:
                    raise PassingError(f"{self._response.url} sent {n_since} bytes in {elapsed:.0f} s")
                since, n_since = time.monotonic(), 0


@contextlib.contextmanager
def opened(url, start=0, stop=None, state=None, timeout=30.0):
    """Yield the `Answer` to one request for a file or for a part of it.

    Parameters
    ----------
    url : str
    start, stop : int, optional
        Bytes [start, stop) of the remote file; by default all, or all from `start` on.
    state : dict, optional
        `Answer.state` of an earlier answer. The file has to be the same still.
    timeout : float
        Seconds without a byte, or with fewer than 100 bytes each, after which the server counts as silent.

    Raises
    ------
    PassingError, ChangedError, NoRangesError, RefusedError, TransferError
    """
    state, partly = state or {}, start > 0 or stop is not None
    headers = {"Accept-Encoding": "identity"}
    if partly:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        etag = state.get("etag") or ""
        same = etag if etag.startswith('"') else state.get("last_modified")  # a weak ETag may not be used
        if same:
            headers["If-Range"] = same
    with _passing(url):
        response = _session().get(url, headers=headers, stream=True, timeout=(min(timeout, 10), timeout))
    with contextlib.closing(response):
        _check_status(response, url, partly)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise TransferError(f"{url} comes packed ({response.headers['Content-Encoding']}), against HTTP.")
        if "text/html" in response.headers.get("Content-Type", "") and not url.endswith(".html"):
            raise TransferError(
                f"{url} answers with a web page where a file was expected: a login, a test for robots or a "
                "notice. Open the address in a browser to see which."
            )
        if response.status_code == 206:
            answer = _partial_answer(response, start, stop, timeout)
        else:
            total = _whole_number(response.headers.get("Content-Length"))
            answer = Answer(response, 0, total, total, timeout)
        _check_same(answer.state, state, url)
        if response.status_code == 200 and stop is not None:
            raise NoRangesError(f"{url}: this server sends whole files only, not parts of them.")
        yield answer


def read_range(url, start, stop, state=None, **patience):
    """Return bytes [start, stop) of a remote file and the state of the file; asks again after passing faults.

    Parameters
    ----------
    url, start, stop, state
        As for `opened`.
    **patience
        tries, pause and timeout, as for `transfer.fetch`.

    Returns
    -------
    bytes, dict
    """

    def read(timeout):
        with opened(url, start, stop, state, timeout) as answer:
            return b"".join(answer.pieces()), answer.state

    return _patiently(read, **patience)


def look(url, **patience):
    """Return the state of a remote file (see `Answer`) without fetching it."""

    def ask(timeout):
        with opened(url, timeout=timeout) as answer:
            return answer.state

    return _patiently(ask, **patience)


def _patiently(ask, tries=6, pause=1.0, timeout=30.0):
    for failures in range(1, tries + 1):
        try:
            return ask(timeout)
        except PassingError as fault:
            if failures == tries:
                raise TransferError(f"{fault}; asked {tries} times. Try again later.") from fault
            time.sleep(seconds_to_wait(failures, pause, fault.seconds))


def seconds_to_wait(failures, pause, asked=None):
    """Return how long to wait after so many failures in a row: doubling, at random, at most a minute.

    Parameters
    ----------
    failures : int
        At least 1.
    pause : float
        Longest wait after the first failure, in seconds.
    asked : float, optional
        What the server asked for; then at least this, and at most two minutes.
    """
    longest = min(_LONGEST_PAUSE, pause * 2 ** (failures - 1))
    wait = random.uniform(longest / 2, longest)
    return wait if asked is None else max(wait, min(asked, 2 * _LONGEST_PAUSE))


class RangeFile(io.RawIOBase):
    """A remote file, read by ranges as a library seeks in it.

    Parameters
    ----------
    url : str
    block : int
        Bytes fetched at once; the last 64 blocks are kept.
    **patience
        As for `read_range`.

    Attributes
    ----------
    state : dict
        See `Answer`.
    """

    def __init__(self, url, block=2**16, **patience):
        self._url, self._block, self._patience = url, block, patience
        self._blocks, self._at = {}, 0
        first, self.state = read_range(url, 0, block, **patience)
        self._size = self.state["total"]
        self._blocks[0] = first

    def readable(self):
        """Return True."""
        return True

    def seekable(self):
        """Return True."""
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        """Go to a place and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self):
        """Return the place of the next byte."""
        return self._at

    def readinto(self, buffer):
        """Fill the buffer as far as the file goes: h5py does not ask again for what is missing."""
        wanted = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        filled = 0
        while filled < len(wanted):
            index, inside = divmod(self._at, self._block)
            part = self._fetched(index)[inside : inside + len(wanted) - filled]
            wanted[filled : filled + len(part)] = part
            filled, self._at = filled + len(part), self._at + len(part)
        return filled

    def _fetched(self, index):
        if index not in self._blocks:
            start = index * self._block
            stop = min(start + self._block, self._size)
            self._blocks[index], _ = read_range(self._url, start, stop, self.state, **self._patience)
            if len(self._blocks) > 64:
                self._blocks.pop(next(iter(self._blocks)))
        return self._blocks[index]


def _session():
    """Return the session of this thread, whose connection stays open from request to request."""
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
        _thread.session.headers["User-Agent"] = "latentcortex"
    return _thread.session


@contextlib.contextmanager
def _passing(url):
    """Turn what the network raises into a `PassingError`."""
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise TransferError(f"{url} is not an address: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise PassingError(f"{url}: {type(error).__name__}: {error}") from error


def _check_status(response, url, partly):
    status = response.status_code
    if status == 200 or (status == 206 and partly):
        return
    if status == 416 and partly:
        raise ChangedError(f"{url} is shorter now than when it was begun")
    if status in _BUSY:
        raise PassingError(f"{url}: the server is busy ({status})", _retry_after(response.headers))
    if status in (401, 403, 404, 410):
        what = "has no such file" if status in (404, 410) else "does not give this file"
        raise RefusedError(f"{url}: the server {what} (HTTP {status}).", status)
    raise TransferError(f"{url}: expected the file, got HTTP status {status} {response.reason}.")


def _partial_answer(response, start, stop, timeout):
    text = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    if not found:
        raise PassingError(f"{response.url} sent a part without saying which (Content-Range: {text!r})")
    first, last, total = map(int, found.groups())
    expected = min(stop, total) if stop is not None else total
    length = _whole_number(response.headers.get("Content-Length"))
    if (first, last + 1) != (start, expected) or length not in (None, expected - start):
        raise PassingError(
            f"{response.url} sent bytes {first} to {last + 1} of {total} (length {length}) where {start} to "
            f"{expected} were asked for"
        )
    return Answer(response, start, expected, total, timeout)


def _check_same(new, old, url):
    """Raise an error if a file has another ETag, date or size than before."""
    differs = [
        name for name in ("etag", "last_modified", "total") if old.get(name) and new[name] != old[name]
    ]
    differs = [name for name in differs if new[name]]
    if differs:
        text = f"{url}: the {differs[0]} of this file was {old[differs[0]]}, now it is {new[differs[0]]}"
        if differs == ["total"] and new["etag"]:
            # The same ETag is the same file, so one of the sizes is a slip: the next answer tells which.
            old["total"] = new["total"]
            raise PassingError(text)
        raise ChangedError(text)


def _retry_after(headers):
    """Return the seconds that a server asks to wait, given as a number or as a date, or None."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _whole_number(text):
    return int(text) if text and text.strip().isdigit() else None
