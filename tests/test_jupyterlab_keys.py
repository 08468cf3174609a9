"""Keys within our widgets belong to them, also where JupyterLab listens for its shortcuts."""

import numpy as np
import pytest
from browser import BROWSER, Browser, opened
from linked_pages import curves, linked, points
from quiz_pages import brain, pictures, which
from viewer_pages import WORDS, map_of

from latentcortex import plotting

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

# JupyterLab's rule (Lumino's CommandRegistry, in JupyterLab 4.6), where it is hardest to escape: before the
# element itself hears of the key. The selector is that of the shortcuts with one key, such as "d, d", which
# deletes a cell, and the arrows, which leave it.
LAB = """<script>
const SHORTCUT = '.jp-Notebook.jp-mod-commandMode:not(.jp-mod-readWrite) :focus';
window.taken = [];
document.addEventListener('keydown', event => {
  const own = 'data-lm-suppress-shortcuts';
  for (let at = event.target; at !== null && !at.hasAttribute(own); at = at.parentElement) {
    if (!at.matches(SHORTCUT)) continue;
    window.taken.push(event.key);
    event.preventDefault();
    event.stopPropagation();
    return;
  }
}, true);
</script>"""
CONTROLS = "[...document.querySelectorAll('input, button, canvas, select, summary, [tabindex]')]"


def frames():
    return plotting.frame_slider(pictures(3), ["a", "b", "c"], "Three made-up pictures").data


def composed():
    one = map_of().values
    of_cases = plotting.VertexMap(np.stack([one, -one]), "r", frames=["day", "night"])
    cortex = plotting.cortex_viewer(of_cases, **WORDS)
    given = {"cortex": cortex, "title": "Compose", "alt": "A scene"}
    return plotting.picture_composer({"sky": ("day", "night")}, {"scene": pictures(2)}, **given).data


def planned():
    of = {name: np.full((2, 2, 2), 0.5) for name in ("found", "right", "low", "high", "exaggeration")}
    factors, findings = {"subjects": (1, 4), "trials": (10, 20)}, {"a": True, "b": False}
    return plotting.study_planner(of, factors, findings, (1, 2), title="Plan").data


WIDGETS = {
    "frames": frames,
    "linked": lambda: linked([points(), curves()]),
    "which": which,
    "brain": brain,
    "composer": composed,
    "viewer": lambda: plotting.cortex_viewer(map_of(), **WORDS).data,
    "planner": planned,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    made = Browser(tmp_path_factory.mktemp("browser"), options=options)
    yield made
    made.close()


def press_on_all(browser, show, content):
    """Press an arrow on each control; return how many there were and the keys that JupyterLab took."""
    show('<div class="jp-Notebook jp-mod-commandMode">', content, "</div>")
    n, asked = browser.tell(f"{CONTROLS}.length"), 0
    for k in range(n):
        # Some are gone after a key, and some can't be reached now.
        if browser.tell(
            f"(at => {{ at?.focus(); return !!at && document.activeElement === at; }})({CONTROLS}[{k}])"
        ):
            browser.press("ArrowRight", 39)
            asked += 1
    return asked, browser.tell("window.taken")


@pytest.mark.parametrize("name", WIDGETS)
def test_jupyterlab_takes_no_key_from_a_widget(browser, tmp_path, name):
    with opened(browser, tmp_path, LAB) as show:
        asked, taken = press_on_all(browser, show, WIDGETS[name]())
    assert asked >= 1 and taken == []


def test_jupyterlab_would_take_it_otherwise(browser, tmp_path):
    inside = '<div data-lm-suppress-shortcuts="true"><input type="range"></div>'
    with opened(browser, tmp_path, LAB) as show:
        assert press_on_all(browser, show, inside) == (1, ["ArrowRight"])
