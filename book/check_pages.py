"""Open every page of the built book in a real browser and name what a reader would stumble over.

Run by ``make check-pages``; pages named after ``check_pages.py`` are checked alone. Without a Chromium or
Chrome it says so and ends well. What drives the browser (Playwright) and what knows the rules of
accessibility (axe-core) is installed at the first run into ``.cache/check-pages``, not into the environment,
which ``make constraints`` reads. Each fault is a line: page, element, what is wrong, what to do.
"""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import page_faults  # noqa: E402

TOOLS = ROOT / ".cache" / "check-pages"
REQUIREMENTS = ["playwright>=1.49,<2", "axe-playwright-python>=0.1.4,<0.2"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# axe is slow, and what it finds depends on the width where something scrolls, on the mode where it is colour.
AXE_VIEWS = ((1280, "light"), (1280, "dark"), (390, "light"))


def find_browser():
    """Return the path of a Chromium or Chrome, or None; the variable CHROMIUM names another one."""
    return shutil.which(os.environ.get("CHROMIUM", "")) or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )


def installed_tools(folder=TOOLS):
    """Return ``playwright.sync_api`` and axe's script if they are installed, else None.

    Parameters
    ----------
    folder : Path
        Where they were installed; what the environment has of them is used first.

    Returns
    -------
    tuple of (module, str) or None
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        api = importlib.import_module("playwright.sync_api")
        axe = Path(importlib.import_module("axe_playwright_python").__file__).with_name("axe.min.js")
    except ImportError:
        return None
    return api, axe.read_text("utf-8")


def install_tools(folder=TOOLS):
    """Install Playwright and axe-core into a folder of their own; no browser is downloaded."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(folder)]
    if subprocess.run([*command, *REQUIREMENTS], check=False).returncode:
        sys.exit(f"Could not install {' and '.join(REQUIREMENTS)}: pip says above why.")


class Checker:
    """Checks of pages in one browser, to be used in a `with` statement.

    Parameters
    ----------
    api : module
        ``playwright.sync_api``.
    axe : str
        The script of axe-core.
    browser : str
        Path of a Chromium or Chrome.
    """

    def __init__(self, api, axe, browser):
        self.api, self.axe, self.browser = api, axe, browser

    def __enter__(self):
        self._playwright = self.api.sync_playwright().start()
        # Without a sandbox, because it fails in many containers and as root; the pages are our own.
        self._chromium = self._playwright.chromium.launch(executable_path=self.browser, args=["--no-sandbox"])
        return self

    def __exit__(self, *_):
        self._chromium.close()
        self._playwright.stop()

    def check(self, path):
        """Return the faults of one page (Path), a line each."""
        faults = []
        for width, mode in AXE_VIEWS:
            faults += self._view(path, width, mode)
        faults += self._with_keys(path)
        # The same fault in several views is one fault.
        return [f"{path.stem}: {fault}" for fault in dict.fromkeys(faults)]

    def _open(self, path, width, mode):
        """Return an opened page and the list that its errors and requests are added to."""
        context = self._chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
        page, faults = context.new_page(), []
        page.on("pageerror", lambda error: faults.append(page_faults.script_error(str(error))))
        page.on("console", lambda said: faults.extend(page_faults.console_error(said.type, said.text)))
        context.route("**/*", lambda route: self._let_through(route, faults))
        page.goto(path.as_uri(), wait_until="load")
        page.evaluate(page_faults.script("show"), mode)
        # What slides or fades is in its place; scripts of the theme have seen the size of the window.
        page.wait_for_timeout(600)
        return page, faults

    @staticmethod
    def _let_through(route, faults):
        """Let a request for a file pass; stop one that leaves the machine and add it to the faults."""
        found = page_faults.leaving(route.request.url)
        faults.extend(found)
        if found:
            route.abort()
        else:
            route.continue_()

    def _view(self, path, width, mode):
        """Return the faults that show without touching the page, at a width and in a colour mode."""
        page, faults = self._open(path, width, mode)
        faults += page_faults.too_slow(self._seconds(page))
        faults += page_faults.too_wide(width, page.evaluate(page_faults.script("wide")))
        faults += page_faults.broken_pictures(page.evaluate(page_faults.script("pictures")))
        faults += page_faults.too_pale(mode, page.evaluate(page_faults.script("contrast")))
        page.evaluate(self.axe)
        # Without `preload`, axe would ask for the style sheets again, which pages opened as files may not.
        options = {"resultTypes": ["violations"], "preload": False}
        found = page.evaluate("options => axe.run(document, options)", options)
        faults += page_faults.against_axe(width, mode, found["violations"])
        page.context.close()
        return faults

    @staticmethod
    def _seconds(page):
        """Return the seconds that a page took to load; of three tries the best, as machines are busy."""
        loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
        seconds = page.evaluate(loaded)
        for _ in range(2):
            if seconds <= page_faults.SECONDS:
                break
            other = page.context.new_page()
            other.goto(page.url, wait_until="load")
            seconds = min(seconds, other.evaluate(loaded))
            other.close()
        return seconds

    def _with_keys(self, path):
        """Return which sliders, folded boxes and buttons of a page don't answer the keyboard."""
        page, faults = self._open(path, 1280, "light")
        for kind, key in (("slider", "ArrowRight"), ("details", "Enter"), ("button", "Enter")):
            for k in range(page.evaluate(page_faults.script("controls"), kind)):
                name = page.evaluate(page_faults.script("focus"), [kind, k])
                if name is None:
                    continue
                before = page.evaluate(page_faults.script("state"), kind)
                page.keyboard.press(key)
                if not self._answers(page, kind, before):
                    faults.append(page_faults.silent(kind, name, key))
                page.evaluate(page_faults.script("release"))
        page.context.close()
        return faults

    @staticmethod
    def _answers(page, kind, before):
        """Return whether the state of a control differs from `before` within a second."""
        for _ in range(10):
            if page.evaluate(page_faults.script("state"), kind) != before:
                return True
            page.wait_for_timeout(100)
        return False


def built_pages(environment=os.environ):
    """Return the folder of built pages: LATENTCORTEX_BUILT_BOOK, or the last whole book."""
    return Path(environment.get("LATENTCORTEX_BUILT_BOOK", ROOT / "book" / "_build" / "html")).resolve()


def main(names=()):
    """Check the built book, print what was checked and each fault; return 1 if there is any, else 0."""
    browser, folder = find_browser(), built_pages()
    if browser is None:
        print(f"Skipped: no browser. Expected one of {', '.join(BROWSERS)}, or its path in CHROMIUM.")
        return 0
    paths = [
        p for p in sorted(folder.glob("*.html")) if p.name != "index.html" and (not names or p.stem in names)
    ]
    if not paths:
        print(f"No pages to check in {folder}: run `make book` first.")
        return 1
    tools = installed_tools() or (install_tools(), installed_tools())[1]
    faults = page_faults.of_links(folder) + page_faults.of_size(folder) + page_faults.of_warnings(folder)
    what = "links, anchors, pictures, size and warnings"
    print(f"{len(paths)} pages in {folder}; {what}: {len(faults)} faults", flush=True)
    with Checker(*tools, browser) as checker:
        for path in paths:
            found = checker.check(path)
            faults += found
            print(f"{path.stem}: {len(found)} faults", flush=True)
    print("Not followed, because they leave the machine:", *page_faults.external_links(folder), sep="\n  ")
    print(*faults, f"{len(faults)} faults.", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pages", nargs="*", help="names of pages, such as intro; all of them if none is given"
    )
    sys.exit(main(parser.parse_args().pages))
