"""A real browser that tests press keys in: Chromium, led through its debugging pipe."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def connect(to_read, to_write):
    """Give the process that is about to start the two ends of pipes as 3, to read, and 4, to write."""
    high = os.dup(to_read), os.dup(to_write)
    os.dup2(high[0], 3)
    os.dup2(high[1], 4)
    # A copy that was 3 or 4 already is not copied again, and would be closed when the browser starts.
    os.set_inheritable(3, True)
    os.set_inheritable(4, True)


@contextlib.contextmanager
def opened(browser, folder, head=""):
    """Yield a function that opens the parts of a page; none may fail or ask anything of another machine."""

    def show(*parts):
        page = folder / "page.html"
        page.write_text(f'<!doctype html><meta charset="utf-8">{head}{"".join(parts)}', "utf-8")
        browser.requests.clear()
        browser.errors.clear()
        browser.open(page)
        return browser

    yield show
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


class Browser:
    """One page of a browser without a network, until `close`.

    Parameters
    ----------
    folder : Path
        Where the browser keeps its profile.
    width, height : int
        Of the window, in CSS pixels.
    options : sequence of str
        Of the browser's command, such as those that WebGL needs.
    """

    def __init__(self, folder, width=800, height=900, options=()):
        self._number, self._rest, self.requests, self.errors = 0, b"", [], []
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        command = [BROWSER, "--headless=new", "--no-sandbox", "--no-first-run", "--remote-debugging-pipe"]
        command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}", *options]
        command.append("about:blank")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            command, close_fds=False, preexec_fn=lambda: connect(to_read, to_write), **quiet
        )
        os.close(to_read)
        os.close(to_write)
        (page,) = [one for one in self._when_there() if one["type"] == "page"][:1]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    _session = None

    def _when_there(self):
        for _ in range(100):
            found = self.call("Target.getTargets")["targetInfos"]
            if any(one["type"] == "page" for one in found):
                return found
            time.sleep(0.1)
        raise TimeoutError("The browser opened no page.")

    def call(self, method, **parameters):
        """Return the browser's answer to a command of its debugging protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def _next(self, seconds=120):
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], seconds)[0]:
                raise TimeoutError("The browser does not answer.")
            self._rest += os.read(self._from, 1 << 20)
        text, self._rest = self._rest.split(b"\0", 1)
        said = json.loads(text)
        if said.get("method") == "Network.requestWillBeSent":
            self.requests.append(said["params"]["request"]["url"][:80])
        if said.get("method") == "Runtime.exceptionThrown":
            self.errors.append(said["params"]["exceptionDetails"])
        return said

    def open(self, path):
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url=path.as_uri())
        for _ in range(300):
            if self.tell("document.readyState") == "complete":
                return
            time.sleep(0.1)
        raise TimeoutError(f"{path} was not loaded.")

    def tell(self, expression):
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key, code=0, text=""):
        """Press and release a key, such as ("Tab", 9) or ("Enter", 13, "\\r")."""
        common = {"key": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=kind, text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def close(self):
        """End the browser."""
        os.close(self._to)
        self._process.terminate()
        self._process.wait(30)
        os.close(self._from)
