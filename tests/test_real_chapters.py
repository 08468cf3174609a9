"""Chapters leave to the preset what a study decides, so that the same cells run on measured data.

`make test-real` runs them; here their calls are read, which takes a second.
"""

import ast
import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
# Chapters 15 and 16 choose data and networks themselves, whatever the preset.
CHAPTERS = [path for path in sorted(BOOK.glob("*.ipynb")) if re.match(r"0\d_|1[0-4]_|primer_", path.name)]
# Functions that read responses, regions or networks, and an argument that each call of them must mention.
ASKED = {
    **dict.fromkeys(("trials", "betas", "scaled_betas", "image_responses", "finite_mask"), "preset.sessions"),
    **dict.fromkeys(("encode_images", "decode_latents", "encode_clip_layers"), "preset.batch_size"),
    "load_latent_diffusion": "preset.dtype",
    "load_clip_image_encoder": "preset.guide_revision",
}
OF_MINI = {"load_judge", "load_classical_judge", "load_instruments"}
OF_TOYS = {"primer_fmri"}  # which computes the response to three pictures, and says so
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def trees(path):
    """Yield the syntax tree of each code cell; magics and shell lines are left out."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            text = re.sub(r"^(\s*)[%!].*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
            yield ast.parse(text)


def calls(tree):
    """Yield the name of each function or method that is called, and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield getattr(node.func, "attr", None) or node.func.id, node


def calls_without_condition(path):
    """Yield name and call of each call that no `if` of its cell guards."""
    for tree in trees(path):
        for statement in tree.body:
            if not isinstance(statement, ast.If):
                yield from calls(statement)


@each_chapter
def test_sessions_batches_dtype_and_revisions_are_those_of_the_preset(path):
    found = [
        ast.unparse(call)
        for tree in trees(path)
        for name, call in calls(tree)
        if name in ASKED and ASKED[name] not in ast.unparse(call)
    ]
    assert found == []


@each_chapter
def test_regions_are_asked_for_in_a_space_and_of_a_subject(path):
    """On fsaverage NSD has no labels of what was drawn for each subject, and a volume has its own voxels."""
    least = {"roi": 4, "roi_mask": 5}  # root, atlas, names, space, subject
    found = [
        ast.unparse(call)
        for tree in trees(path)
        for name, call in calls(tree)
        if name in least
        and len(call.args) < least[name]
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
    ]
    assert found == []


@each_chapter
def test_networks_that_know_rendered_scenes_alone_are_loaded_under_a_condition(path):
    found = [ast.unparse(call) for name, call in calls_without_condition(path) if name in OF_MINI]
    assert found == []


@each_chapter
def test_nothing_that_is_computed_is_called_simulated_whatever_it_is(path):
    """`origin` says it. What is shown of a product that simulated data alone have may say so itself."""
    of_product = re.compile(r"^if (product|left_out|planted)")
    found = [
        node.value
        for tree in trees(path)
        for statement in tree.body
        if not of_product.match(ast.unparse(statement))
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"(?<!not )\bsimulated\b", node.value) and node.value != "simulated"
    ]
    assert found == [] or path.stem in OF_TOYS


@each_chapter
def test_maps_are_drawn_by_the_door_that_knows_spaces_without_a_surface(path):
    """Of products, too, directly: the scripts that make them refuse a volume."""
    drawing = {"flatmap", "winner_map", "two_dimensional_map", "compared_flatmaps", "inflated"}
    found = [
        ast.unparse(call)
        for name, call in calls_without_condition(path)
        if name in drawing and ast.unparse(call.func).startswith("plotting.")
    ]
    assert found == []
