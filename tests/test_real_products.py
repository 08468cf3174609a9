"""Cells that show products run on products with the scores of photographs, which know no kinds or settings.

The products are made up, so that no network computes. Cells are found by a piece of their text.
"""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from latentcortex import metrics, presets, studies
from latentcortex.studies.live_scores import names_for
from latentcortex.studies.results import Product

pytestmark = pytest.mark.usefixtures("one_thread")
BOOK = Path(__file__).parents[1] / "book"
SCORES = [one.name for one in metrics.PROTOCOLS["mindeye2"].scores]
CRITERIA = list(metrics.PROTOCOLS["mindeye2"].criteria)
ROWS = ["shuffled_pairs", "shuffled_brain", "no_brain", "mean_image", "blurred_8", "nearest", "decoded_z"]
ROWS += ["z_only", "c_only", "both", "one_showing", "true_both", "vae"]
WAYS = ["unguided", "true", "other", "decoded", "true, no limit"]
SYSTEMS = ["A", "A, guided", "A, guided by network", "B, no guide", "B"]
ABLATIONS = ["unguided", "true g", *(f"true g, {share} %" for share in (75, 50, 25, 0))]
# The cells of each chapter, in order.
CELLS = {
    "06_reconstruct_images": [
        'product = studies.product("ch09',
        "in_words = dict(",
        'choice = studies.product("ch06_choose_settings"',
        "of_all, of_rows =",
        "def means_of",
        "better = {",
        "def as_text",
        "identified = studies.product(",
        "best_of_five = {",
        "names_of_bars",
        'title = f"More scores',
        "free = means_of",
    ],
    "07_share_a_space": [
        'product = studies.product("ch07',
        'drawn = studies.product("ch07',
        "asked = names_for",
    ],
    "08_guide_the_sampler": [
        'product = studies.product("ch08',
        'ways = {"unguided"',
        'limited = (studies.product("ch08',
        "panels = ",
        "def values(",
        "def compare(",
        "shares = (0, 0.25",
        'recipes, lines = facts["recipes"]',
        "pixels, *_, setting, kinds",
    ],
    "09_measure_reconstructions": [
        'product = studies.product("ch09',
        'quiz = studies.product("ch09',
        "n_ways = facts",
        "human = {",
        "def way(",
        "marks = {",
        "def difference(",
        "steps = {}",
        "for n in (2, n_ways[-1])",
    ],
    "14_what_we_may_conclude": [
        'scored = studies.product("ch09',
        "def compare(",
        "best_of = {}",
        'choice = studies.product("ch06',
        "every = {}",
        "for leak in helps:",
    ],
}


class MadeUp(Product):
    """A product in memory, of which a page checks that its rows have the product's shapes."""

    def __init__(self, provenance, **arrays):
        super().__init__("made up", Path("made_up.npz"))
        self.__dict__.update(arrays=arrays, provenance=provenance)

    def check(self, live, stored, _statistics=None):
        assert {name: np.shape(of) for name, of in live.items()} == {k: np.shape(stored[k]) for k in live}


@pytest.fixture
def page(study, monkeypatch):
    """Names that cells with networks would have left, and made-up products for `studies.product`."""
    preset = dataclasses.replace(study.preset, protocol="mindeye2", data=str(study.root))
    ids, n_subjects, rng = study.image_ids, len(study.subjects), np.random.default_rng(0)
    n, k = len(ids), len(SCORES)

    def some(*shape):
        return rng.random(shape)

    grid = {f"{kind}_{name}": some(5) for kind in ("true", "decoded") for name in CRITERIA}
    for kind in ("true", "decoded"):
        grid[f"{kind}_feature_scale"] = np.array([0, 100, 300, 1000, 3000])
        grid[f"{kind}_guided_share"] = np.array([1, 1, 1, 1, 0.2])
        grid[f"{kind}_max_relative_step"] = np.full(5, 3.0)
    settings = {"strength": np.linspace(0.2, 0.8, 4), "rescale": np.full(4, preset.rescale)}
    settings["guidance_scale"] = np.full(4, preset.guidance_scale)
    subjects = {"subjects": list(study.subjects)}
    known = {
        "ch09_measure_reconstructions": MadeUp(
            {**subjects, "rows": ROWS, "scores": SCORES, "curves": SCORES[2:4], "n_ways": [2, 4, 8]},
            image_ids=ids,
            drawings=some(n, n_subjects, 3, 5, k),
            scores=some(n, n_subjects, len(ROWS), k),
            curve=some(n, n_subjects, len(ROWS), 2, 3),
            consistency=some(n, n_subjects, len(ROWS), 2),
        ),
        "ch06_choose_settings": MadeUp(
            {"criteria": CRITERIA}, **{of: some(4) for of in CRITERIA}, scores=some(4, 1, 100, 4), **settings
        ),
        "ch07_draw_images": MadeUp(
            {"scores": SCORES, "methods": ["ridge", "scratch", "pretrained"]},
            scores=some(n, n_subjects, 3, 3, k),
            image_ids=ids,
        ),
        "ch08_guide_the_sampler": MadeUp(
            {
                **subjects,
                "scores": dict.fromkeys(("hard", "systems", "repeats", "ablations"), SCORES),
                "recipes": {"hard": WAYS, "systems": SYSTEMS, "repeats": WAYS, "ablations": ABLATIONS},
            },
            hard_scores=some(n, n_subjects, 5, 1, k),
            hard_loss=some(n, n_subjects, 5, 1),
            hard_ids=ids,
            systems_scores=some(n, n_subjects, 5, 1, k),
            systems_ids=ids,
            repeats_agreement=some(n, n_subjects, 5, 2),
            repeats_ids=ids,
            ablations_scores=some(n, 1, len(ABLATIONS), 1, k),
        ),
        "ch08_choose_guidance": MadeUp({}, **grid),
        "ch08_choose_guidance-limit": MadeUp({}, **grid),
    }
    monkeypatch.setattr(presets, "get", lambda: preset)
    monkeypatch.setattr(
        studies, "product", lambda name, _root, ending="": known.get(name + ending, Product(name, None))
    )
    asked, rows = names_for(preset, "PixCorr", "centred PixCorr", "SSIM", "setting", "kinds"), np.arange(2)
    return {
        "subject": study.subjects[0],
        "test_ids": ids,
        "rows": rows,
        "live": {name: some(2, 3, 5) for name in asked},
        "model": SimpleNamespace(scheduler=SimpleNamespace(alphas_cumprod=None)),
        "corrected": {},  # which needs a judge
        "product7": known["ch07_draw_images"],
        "product8": known["ch08_guide_the_sampler"],
        "of_8": SCORES,
        "systems": SYSTEMS,
        "title": "made up",
        "leaks": {("as they are", "scaler"): (0.6, 0.5, metrics.Interval(0.1, 0.0, 0.2, n), "2 of 2")},
        "gains": {},
        "helps": [],
    }


@pytest.mark.parametrize("chapter", CELLS)
def test_products_of_photographs_are_shown(chapter, page, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    sources = [
        "".join(cell["source"])
        for cell in json.loads((BOOK / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    names = {"__name__": "__main__"}
    exec(next(text for text in sources if "presets.get()" in text), names)
    names |= page
    for piece in CELLS[chapter]:
        found = [text for text in sources if piece in text]
        assert len(found) == 1, f"{len(found)} cells of {chapter} hold {piece!r}"
        exec(compile(found[0], f"<{chapter}: {piece}>", "exec"), names)
        plt.close("all")
