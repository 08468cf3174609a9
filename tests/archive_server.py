"""A server that misbehaves as it is told, and a world to fetch from it: for the tests of `prebuilt`."""

import contextlib
import http.server
import threading
import time

import pytest
from test_build import SIZES, fakes  # noqa: F401 (a fixture)

from latentcortex import prebuilt
from latentcortex.mini import build

SEED = 3


class Server(http.server.ThreadingHTTPServer):
    """Serves `body` as `behaviour` says, and counts the requests."""

    body, behaviour, requests = b"", "whole", 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/archive.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body, behaviour = self.server.body, self.server.behaviour
        self.server.requests += 1
        if behaviour == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if behaviour == "page" else "application/zip")
        if behaviour != "cut":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the reader may have had enough
            if behaviour in {"whole", "page"}:
                self.wfile.write(body)
            elif behaviour == "cut":
                self.wfile.write(body[: len(body) // 2])
            else:  # "slow": five bytes at a time, and "silent": these, and then nothing
                for k in range(0, len(body), 5):
                    self.wfile.write(body[k : k + 5])
                    self.wfile.flush()
                    time.sleep(0.02 if behaviour == "slow" else 3)


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def drawn(fakes):  # noqa: F811
    """Return the numbers of scenes that were drawn, call by call."""
    return fakes


@pytest.fixture
def cache(drawn, tmp_path, monkeypatch):  # noqa: ARG001
    monkeypatch.delenv("LATENTCORTEX_OFFLINE", raising=False)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(cache, tmp_path, server):  # noqa: ARG001
    """A world built elsewhere, and a table whose one entry is the archive of its scenes, at the server."""
    there = tmp_path / "built"
    build.open_tree(seed=SEED, sizes=SIZES, cache=there)
    _, scenes = prebuilt.folder_names(seed=SEED, sizes=SIZES)
    entry = prebuilt.pack(there / scenes, tmp_path / "scenes.zip")
    server.body = (tmp_path / "scenes.zip").read_bytes()
    return there, scenes, {scenes: {**entry, "address": server.address, "build_seconds": 60}}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leftovers(cache):
    """Return what lies in the cache beside the folders of worlds and their empty locks."""
    return [p.name for p in cache.iterdir() if not p.name.startswith("mini-") or p.suffix == ".partial"]


def encrypt(path):
    """Mark the members of a zip file as encrypted."""
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + place] |= 1
            start = content.find(signature, start + 1)
    path.write_bytes(content)
