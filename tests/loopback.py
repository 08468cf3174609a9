"""A web server on this machine that does wrong what it is told to, and files to fetch from it."""

import contextlib
import hashlib
import random
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from latentcortex.store.transfer import Remote

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>" + b" " * 100


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms

    def log_message(self, *_args):
        pass

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_GET(self):
        server, path = self.server, unquote(self.path).lstrip("/")
        with server.lock:
            fault = server.fault(path, self.headers)
        if fault in (403, 404, 429, 503):
            headers = {"Retry-After": server.retry_after} if fault in (429, 503) else {}
            return self.answer(fault, b"<Error/>", headers, path)
        if fault == "page":
            return self.answer(200, PAGE, {"Content-Type": "text/html"}, path)
        if path not in server.files:
            return self.answer(404, b"<Error/>", {}, path)
        content = server.files[path]
        etag = server.etags.get(path) or f'"{hashlib.md5(content).hexdigest()}"'
        headers, status, start, body = {"ETag": etag}, 200, 0, content
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(found[1])
            if start >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"}, path)
            stop = min(int(found[2]) + 1, len(content)) if found[2] else len(content)
            total = len(content) - 7 * (fault == "other total")
            body, status = content[start:stop], 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
        return self.answer(status, body, headers, path, start, fault)

    def answer(self, status, body, headers, path, start=0, fault=None):
        server = self.server
        self.send_response(status)
        length = len(body) + {"long": 5, "short": -min(5, len(body))}.get(fault, 0)
        for name, value in {"Content-Length": length, **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        n_bytes = random.randrange(len(body) + 1) if fault in ("drop", "reset", "halt") else len(body)
        request = {"path": path, "status": status, "start": start, "sent": 0, "fault": fault}
        with server.lock:
            server.requests.append(request)
        with contextlib.suppress(OSError):
            while request["sent"] < n_bytes:
                piece = body[request["sent"] : min(n_bytes, request["sent"] + server.piece)]
                self.wfile.write(piece)
                request["sent"] += len(piece)
                time.sleep(server.delay)
            if fault == "halt":
                server.released.wait(5)
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = fault in ("drop", "reset", "halt", "long", "short")


class Loopback(ThreadingHTTPServer):
    """Serves `files`; `fault(path, headers)` names what goes wrong with a request, or returns None."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.etags, self.ranges, self.retry_after = files, {}, True, "0"
        self.piece, self.delay, self.connections, self.requests = 2**14, 0, 0, []
        self.lock, self.released = threading.Lock(), threading.Event()
        self.fault = lambda _path, _headers: None

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        """Keep quiet: clients that go away are part of the tests."""


@contextlib.contextmanager
def serving(files):
    """Yield a server of files (dict of bytes by path)."""
    server = Loopback(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


QUICK = {"block": 2**14, "pause": 0.002, "timeout": 2.0, "quiet": True}  # settings of transfer.fetch
SIZES = {"a.bin": 300_000, "b/b.bin": 123_457, "b/empty.bin": 0, "c.bin": 40}


def random_files():
    """Return made-up files, bytes by path."""
    return {name: random.Random(name).randbytes(size) for name, size in SIZES.items()}


def remotes_of(server):
    """Return all files of a server, and one made of parts of the first, with a header."""
    whole = [Remote(server.url(path), path) for path in server.files]
    spans = tuple((start, 1_000) for start in range(17, SIZES["a.bin"] - 1_000, 3_000))
    return [*whole, Remote(server.url("a.bin"), "cut.bin", ranges=spans, header=b"H" * 1_500)]


def expected(server, remote):
    """Return what has to lie on disk of a file."""
    content = server.files[remote.url.split("/", 3)[3]]
    if remote.ranges is None:
        return content
    parts = b"".join(content[start : start + length] for start, length in remote.ranges)
    return remote.header + parts[len(remote.header) :]


def states(outcomes):
    """Return what became of each file."""
    return [outcome.state for outcome in outcomes]
