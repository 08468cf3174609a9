"""Chapters and scripts leave to the preset what a study decides, so that measured data need no edits.

`make test-real` runs them; here their calls are read, which takes seconds.
"""

import ast
import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
# Chapters 15 and 16 choose data and networks themselves, whatever the preset.
CHAPTERS = [path for path in sorted(BOOK.glob("*.ipynb")) if re.match(r"0\d_|1[0-4]_|primer_", path.name)]
PAGES = [*CHAPTERS, BOOK / "all_numbers.ipynb", BOOK / "mix_features.ipynb"]
# The scripts and the room behind them, without those of simulated worlds and of chapter 15.
APART = re.compile(r"ch00_open|ch10_compose|ch10_plan|ch13_recover|ch14_leave|recovery|virtual_|open_brains")
SOURCES = [
    path
    for folder in ("data_scripts", "src/latentcortex/studies")
    for path in sorted((BOOK.parent / folder).glob("*.py"))
    if not APART.match(path.name)
]
# Functions that read responses, regions or networks, and an argument that each call of them must mention.
ASKED = {
    **dict.fromkeys(("trials", "betas", "scaled_betas", "image_responses", "finite_mask"), "preset.sessions"),
    **dict.fromkeys(("encode_images", "decode_latents", "encode_clip_layers"), "preset.batch_size"),
    **dict.fromkeys(("LinearDecoder", "VoxelwiseEncoder"), "preset.device"),
    "load_latent_diffusion": "preset.dtype",
    "load_clip_image_encoder": "preset.guide_revision",
}
# Chapters read few images in these two ways, and scripts leave small regressions where their rows are.
OF_SOURCES = {**ASKED, **dict.fromkeys(("sample", "each_activation"), "preset.batch_size")}
del OF_SOURCES["LinearDecoder"], OF_SOURCES["VoxelwiseEncoder"]
ALLOWED = {
    "features.encode_clip_layers(study.guide, images, LAYERS, len(images), clamped=False)",  # one gradient
    # of scripts that refuse volumes: on fsaverage this atlas is the same for all subjects
    "nsd.roi_mask(study.root, 'nsdgeneral', 'nsdgeneral', study.preset.space)",
}
OF_MINI = {"load_judge", "load_classical_judge", "load_instruments"}
OF_PLANTED_WORLDS = "13_partition_variance"  # its product is made of simulated worlds alone
# The response to three pictures, which the page computes, and says so.
OF_TOYS = {"primer_fmri": {", simulated", "Percent signal change, simulated"}}
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def trees(path):
    """Yield the syntax tree of a script or of each code cell; magics and shell lines are left out."""
    if path.suffix == ".py":
        yield ast.parse(path.read_text(encoding="utf-8"))
        return
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            text = re.sub(r"^(\s*)[%!].*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
            yield ast.parse(text)


def calls(tree):
    """Yield the name of each function or method that is called, and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield getattr(node.func, "attr", None) or node.func.id, node


def regions_without_subject(path):
    """Return the calls that read regions of no space or no subject, as text."""
    least = {"roi": 4, "roi_mask": 5}  # root, atlas, names, space, subject
    return [
        ast.unparse(call)
        for tree in trees(path)
        for name, call in calls(tree)
        if name in least and len(call.args) < least[name] and not unpacks(call)
    ]


def unpacks(call):
    """Say whether a call has arguments that can't be read here."""
    return any(isinstance(argument, ast.Starred) for argument in call.args)


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
    assert regions_without_subject(path) == []


@each_source
def test_scripts_ask_for_sessions_batches_dtype_revisions_spaces_and_subjects(path):
    found = [
        ast.unparse(call)
        for tree in trees(path)
        for name, call in calls(tree)
        if name in OF_SOURCES and OF_SOURCES[name].removeprefix("preset.") not in ast.unparse(call)
        if not unpacks(call) and not ast.unparse(call.func).startswith("self.")
    ]
    assert set(found + regions_without_subject(path)) <= ALLOWED


@each_chapter
def test_networks_that_know_rendered_scenes_alone_are_loaded_under_a_condition(path):
    found = [ast.unparse(call) for name, call in calls_without_condition(path) if name in OF_MINI]
    assert found == []


@each_chapter
def test_what_lies_outside_of_a_region_is_told_by_all_of_it(path):
    """Vertices that were only left out of a thinned mask belong to the region."""
    pages = json.loads(path.read_text(encoding="utf-8"))["cells"]  # solutions are code in Markdown
    text = "\n".join("".join(cell["source"]) for cell in pages)
    for name in re.findall(r"(\w+) = maps\.thinned\(", text):
        assert not re.search(rf"~ ?{name}\b", text)


@each_page
def test_where_data_come_from_is_read_off_the_tree(path):
    found = [
        ast.unparse(node.value)
        for tree in trees(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and re.fullmatch(r"(\w+_)?origin", ast.unparse(node.targets[0]))
    ]
    of_tree = re.compile(r"'simulated' if \(\w+ / 'simulation'\)\.is_dir\(\) else 'measured'")
    assert found and [value for value in found if not of_tree.fullmatch(value)] == []


@each_page
def test_nothing_that_is_computed_is_called_simulated_whatever_it_is(path):
    """`origin` says it. What is shown of a product that simulated data alone have may say so itself."""
    of_product = re.compile(r"^if product:" if path.stem == OF_PLANTED_WORLDS else "never")
    found = {
        node.value
        for tree in trees(path)
        for statement in tree.body
        if not of_product.match(ast.unparse(statement))
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"(?<!not )\bsimulated\b", node.value) and node.value != "simulated"
    }
    assert found == OF_TOYS.get(path.stem, set())


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
