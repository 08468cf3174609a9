"""A tree is spoiled in one place: the finding names it and what to do, and all others are as before."""

import itertools
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from latentcortex import command, nsd
from latentcortex.nsd import inspected_betas, inspecting, surfaces, write_measured
from latentcortex.nsd.chapters import CHAPTERS

OF_NSD = tuple(chapter for chapter in CHAPTERS if chapter != 15)
SUBJECTS = ("subj01", "subj02")
BETAS = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
LABELS = "nsddata/freesurfer/fsaverage/label"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
LOG = "nsddata/ppdata/subj01/behav/responses.tsv"
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ATLASES = {"streams", "nsdgeneral", "prf-visualrois", "floc-faces", "floc-places", "floc-bodies"}
PARTS = {"tree", "terms", "design", "log", "betas", "ncsnr", "images", "captions", "memory", "disk", *ATLASES}


@pytest.fixture(scope="module")
def whole(tiny_tree, tmp_path_factory):
    """The tiny tree with all atlases that chapters read. Read only."""
    root = shutil.copytree(tiny_tree, tmp_path_factory.mktemp("whole") / "nsd")
    shutil.rmtree(root / "nsddata/freesurfer/subj01")
    labels = np.arange(324) % 3
    for atlas in ATLASES - {"streams", "nsdgeneral"}:
        write_measured.write_rois(root, atlas, labels, {0: "Unknown", 1: "A", 2: "B"})
    return root


@pytest.fixture
def tree(whole, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(whole, tmp_path / "nsd")


def by_part(findings):
    return {(finding.part, finding.subjects): finding for finding in findings}


def faults(findings):
    return [finding for finding in findings if finding.state in ("missing", "wrong")]


def ready(findings, chapters=OF_NSD):
    return {chapter for chapter, found in inspecting.blocked(findings, chapters).items() if not found}


def test_a_whole_tree_is_enough_for_all_chapters(whole):
    findings = nsd.inspect(whole)
    assert {finding.part for finding in findings} == PARTS
    assert {finding.state for finding in findings} == {"there", "note"}
    assert ready(findings) == set(OF_NSD)
    texts = {part: finding.text for (part, _), finding in by_part(findings).items()}
    assert texts["design"] == "40 images for each of 2 subjects, 8 shared"
    assert texts["prf-visualrois"] == "A, B: 216 of 324"
    assert texts["images"] == "72 images of 12 x 10 pixels"
    assert re.fullmatch(r"5\.0 captions of each of \d\d images", texts["captions"])
    of_two = by_part(findings)
    assert of_two["betas", ("subj01",)].text == "sessions 1 to 3 in fsaverage, 324 vertices"
    assert of_two["log", ("subj02",)].text == "80 trials in sessions 1, 2, as the design plans them"
    assert of_two["streams", SUBJECTS].state == "there"  # the same for both: said once


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def download_twice(path):
    path.rename(path.with_name(f"{path.stem} (1){path.suffix}"))


def put_a_page(path):
    path.write_bytes(b"<!DOCTYPE html><html><body>Please log in</body></html>" + 2000 * b" ")


SPOILERS = (remove, cut, download_twice, put_a_page)
FILES = {
    "design": DESIGN,
    "log": LOG,
    "betas of session 2": f"{BETAS}/rh.betas_session02.mgh",
    "ncsnr": f"{BETAS}/lh.ncsnr.mgh",
    "streams": f"{LABELS}/lh.streams.mgz",
    "floc-places": f"{LABELS}/floc-places.mgz.ctab",
    "images": STIMULI,
    "captions": "annotations/captions_train2017.json",
}


@pytest.mark.parametrize(
    ("part", "spoil"),
    # Half of a table of names is a table of names: codes without a name have a test of their own.
    [one for one in itertools.product(FILES, SPOILERS) if one != ("floc-places", cut)],
)
def test_one_spoiled_file_is_named_with_what_to_do_and_all_else_is_as_before(tree, part, spoil):
    before = nsd.inspect(tree)
    spoil(tree / FILES[part])
    findings = nsd.inspect(tree)
    (fault, *others) = [finding for finding in faults(findings) if finding.part == part]
    assert spoil is not remove or fault.state == "missing"
    name = Path(FILES[part]).name.removesuffix(".mgz.ctab")
    assert name.removesuffix("02.mgh") in fault.text
    assert fault.advice.startswith(f"latentcortex download nsd {tree} --space fsaverage --subjects 1 2")
    assert "--sessions 3" in fault.advice  # as many as there are, never all 40
    if spoil is download_twice:
        assert re.search(rf"rename it to {re.escape(Path(FILES[part]).name)}", fault.text)
    if spoil is put_a_page:
        assert "<!DOCTYPE html>" in fault.text and "login" in fault.text
    asked = part.partition(" of ")[0]
    stopped = set(OF_NSD) if asked in ("design", "log") else {c for c in OF_NSD if asked in CHAPTERS[c]}
    assert ready(findings) == set(OF_NSD) - stopped
    assert not others and {finding.part for finding in findings} >= PARTS - {"memory", "disk"}
    follows = {"log"} if part == "design" else set()  # the log is held against the design
    changed = set(before) ^ set(findings)
    assert {finding.part for finding in changed} <= {
        part,
        asked,
        "images",
        "captions",
        "memory",
        "disk",
    } | follows


def test_what_the_images_and_captions_take_to_fetch_stands_in_the_advice(tree):
    (tree / STIMULI).unlink()
    (fault,) = faults(nsd.inspect(tree, chapters=[2, 6]))
    assert fault.part == "images" and fault.chapters == (6,) and fault.advice.endswith("--chapters 6")


def test_parts_that_no_chapter_asked_for_reads_are_left_out(tree):
    for path in (STIMULI, "annotations", f"{LABELS}/lh.floc-faces.mgz"):
        shutil.rmtree(tree / path) if (tree / path).is_dir() else (tree / path).unlink()
    findings = nsd.inspect(tree, chapters=[2])
    assert not faults(findings)
    assert not {"images", "captions", "floc-faces"} & {finding.part for finding in findings}


def test_files_of_another_subject_are_noticed(tree):
    shutil.copy(tree / "nsddata/ppdata/subj02/behav/responses.tsv", tree / LOG)
    findings = nsd.inspect(tree)
    (fault,) = faults(findings)
    assert (fault.part, fault.state, fault.subjects) == ("log", "wrong", ("subj01",))
    assert "name different images" in fault.text


def test_a_session_of_another_size_is_noticed(tree, rng):
    write_measured.write_betas_session(tree, "subj01", 3, rng.normal(size=(40, 300)).astype(np.float32))
    (fault,) = faults(nsd.inspect(tree))
    assert fault.part == "betas of session 3" and "(300,)" in fault.text and "(324,)" in fault.text


def test_a_file_that_was_not_written_to_its_end_is_noticed(tree):
    path = tree / f"{BETAS}/lh.betas_session01.mgh"
    content, (start, end) = path.read_bytes(), (284 + 4 * 162 * trial for trial in (39, 40))
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])  # the last of 40 trials
    (fault,) = faults(nsd.inspect(tree))
    assert fault.part == "betas of session 1" and "zeros" in fault.text and str(path) in fault.text


def test_many_lost_sessions_are_counted(tree):
    for path in (tree / BETAS).glob("rh.betas_session*"):
        path.unlink()
    for session in (2, 1):  # of two subjects, in one file each
        (tree / BETAS.replace("subj01", "subj02") / f"lh.betas_session0{session}.mgh").unlink()
    parts = [(finding.part, finding.subjects) for finding in faults(nsd.inspect(tree))]
    expected = [(f"betas of session {k}", ("subj01",)) for k in (1, 2, 3)]
    assert parts == expected + [(f"betas of session {k}", ("subj02",)) for k in (1, 2)]


def test_more_lost_sessions_than_three_are_counted(tree, monkeypatch):
    monkeypatch.setattr(inspected_betas, "_MOST", 1)
    for path in (tree / BETAS).glob("rh.betas_session*"):
        path.unlink()
    texts = {finding.part: finding.text for finding in faults(nsd.inspect(tree))}
    assert texts["betas of more sessions"] == "2 more sessions are missing or damaged."
    assert len(texts) == 2


def test_sessions_asked_for_have_to_be_there(tree):
    (tree / BETAS / "lh.betas_session02.mgh").unlink()
    (tree / BETAS / "rh.betas_session02.mgh").unlink()
    assert not faults(nsd.inspect(tree)) and not faults(nsd.inspect(tree, sessions=[1]))
    (fault,) = faults(nsd.inspect(tree, ["subj01"], sessions=[1, 2]))
    assert (fault.part, fault.state) == ("betas of session 2", "missing")


def test_regions_drawn_for_a_subject_need_its_spheres_and_the_names_of_codes(tree, tiny_tree):
    shutil.copytree(tiny_tree / "nsddata/freesurfer/subj01", tree / "nsddata/freesurfer/subj01")
    for hemisphere in ("lh", "rh"):
        (tree / LABELS / f"{hemisphere}.floc-faces.mgz").unlink()
    (tree / LABELS / "streams.mgz.ctab").write_text("0 Unknown\n1 early\n")
    found = {(fault.part, fault.subjects): fault for fault in faults(nsd.inspect(tree))}
    spheres = found["floc-faces", ("subj01",)]
    assert spheres.state == "missing" and "nsddata/freesurfer/subj01/surf/lh.sphere.reg" in spheres.text
    assert found["floc-faces", ("subj02",)].state == "missing"
    assert "the code 5" in found["streams", SUBJECTS].text
    assert len(found) == 3


def test_images_fetched_one_by_one_have_to_be_those_that_were_seen(tree):
    seen = np.unique(nsd.trials(tree, "subj01")["image_id"])
    with h5py.File(tree / STIMULI, "a") as file:
        file["image_ids"] = seen
    assert "fetched" in by_part(nsd.inspect(tree, ["subj01"]))["images", ()].text
    (fault,) = faults(nsd.inspect(tree))
    lacking = np.setdiff1d(nsd.trials(tree, "subj02")["image_id"], seen)
    assert fault.part == "images" and f"{len(lacking)} that" in fault.text and str(lacking[0]) in fault.text


def test_surface_files_cut_to_fsaverage5_say_which_space_to_ask_for(tree, monkeypatch, rng):
    monkeypatch.setitem(surfaces.SPACES, "fsaverage5", surfaces.Surface(42))
    monkeypatch.setattr(inspected_betas, "N_FIRST", 42)
    for subject, sessions in (("subj01", (1, 2, 3)), ("subj02", (1, 2))):
        for session in sessions:
            write_measured.write_betas_session(
                tree, subject, session, rng.normal(size=(40, 84)).astype(np.float32)
            )
    (fault,) = faults(nsd.inspect(tree))
    assert fault.part == "space" and fault.subjects == SUBJECTS and "--space fsaverage5" in fault.advice
    assert not faults(nsd.inspect(tree, space="fsaverage5"))


@pytest.mark.parametrize("form", ["hdf5", "nii.gz"])
def test_volumes_are_checked_by_header_and_one_voxel(tree, tiny_truth, form):
    shape = (4, 9, 9)

    def write(session, betas):
        write_measured.write_volume_betas_session(tree, "subj01", session, betas, form=form)

    for session in (1, 2, 3):
        write(session, tiny_truth.betas["subj01", session].reshape(-1, *shape))
    write_measured.write_volume(tree, "subj01", "ncsnr", tiny_truth.ncsnr.reshape(shape).astype(np.float32))
    for atlas in ("streams", "nsdgeneral"):
        values = tiny_truth.labels.reshape(shape) > 0 if atlas == "nsdgeneral" else tiny_truth.labels
        write_measured.write_volume(tree, "subj01", f"roi/{atlas}", values.reshape(shape).astype(np.int16))
    asked = {"subjects": ["subj01"], "space": "func1pt8mm", "chapters": [5]}
    findings = nsd.inspect(tree, **asked)
    assert not faults(findings)
    assert "4 x 9 x 9 voxels" in by_part(findings)["betas", ("subj01",)].text
    folder = tree / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    for path in folder.glob("betas_session0[23]*"):
        path.unlink()
    write(2, np.ones((40, 3, 9, 9), np.float32))
    write(3, np.ones((39, *shape), np.float32))
    texts = {fault.part: fault.text for fault in faults(nsd.inspect(tree, **asked))}
    assert set(texts) == {"betas of session 2", "betas of session 3"}
    assert "(3, 9, 9)" in texts["betas of session 2"] and "39" in texts["betas of session 3"]


def test_a_volume_of_zeros_is_noticed(tree):
    shape = (4, 9, 9)
    write_measured.write_volume_betas_session(tree, "subj01", 1, np.zeros((40, *shape), np.float32))
    for atlas in ("streams", "nsdgeneral"):
        write_measured.write_volume(tree, "subj01", f"roi/{atlas}", np.ones(shape, np.int16))
    asked = {"space": "func1pt8mm", "chapters": [5], "sessions": [1]}
    (fault,) = faults(nsd.inspect(tree, ["subj01"], **asked))
    assert fault.part == "betas of session 1" and "zeros" in fault.text


def test_subjects_and_trees_that_are_not_there(tree, tmp_path):
    (fault,) = faults(nsd.inspect(tree, ["subj01", "subj07"]))
    assert fault.part == "subject" and fault.subjects == ("subj07",) and "subj01, subj02" in fault.text
    for wrong in (tree.parent, tree / "nsddata"):
        (found,) = nsd.inspect(wrong)
        assert (found.part, found.advice) == ("tree", f"Pass {tree}.") and not ready([found])
    (found,) = nsd.inspect(tmp_path / "nothing" / "here")
    assert found.state == "missing" and found.advice.startswith("latentcortex download nsd")


def test_the_advice_belongs_to_the_kind_of_tree(tree):
    (tree / DESIGN).unlink()
    (tree / "provenance.json").write_text(json.dumps({"name": "faces", "licence": "CC0"}))
    findings = by_part(nsd.inspect(tree))
    assert "Import the data again" in findings["design", ()].advice
    assert "provenance.json" in findings["terms", ()].text
    (tree / "simulation").mkdir()
    findings = by_part(nsd.inspect(tree))
    assert "built again" in findings["design", ()].advice and "simulated" in findings["terms", ()].text


def test_unfinished_downloads_and_too_little_memory_are_notes(tree, capsys):
    path = tree / BETAS / "lh.betas_session03.mgh"
    path.rename(path.with_name(f".{path.name}.part"))
    findings = nsd.inspect(tree, image_size=10**6)
    assert [fault.part for fault in faults(findings)] == ["betas of session 3"]
    notes = {finding.part: finding for finding in findings if finding.state == "note"}
    assert path.name in notes["downloads"].text and "again" in notes["downloads"].advice
    assert "smaller image_size" in notes["memory"].advice
    assert inspecting.report(findings, [3]) == 0  # it reads no betas
    assert "Read the notes on downloads and memory first." in capsys.readouterr().out
    # Single trials and z-scores, float32, of 120 trials and the 324 vertices at most that regions mark.
    marked = np.count_nonzero(nsd.roi(tree, "streams"))
    assert f"about {120 * marked * 8 / 1e3:.1f} kB" in notes["memory"].text


def test_a_cache_that_nothing_was_written_into_yet_has_a_disk_too(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "not/there"))
    (disk,) = (finding for finding in nsd.inspect(tree) if finding.part == "disk")
    assert "Free on its disk: " in disk.text


def test_the_command_says_what_can_run_and_returns_whether_all_can(tree, capsys, monkeypatch):
    asked = ["check", str(tree), "--subjects", "1", "2", "--space", "fsaverage", "--chapters"]
    assert command.main([*asked, "02", "primer_fmri"]) == 0
    assert "Can run: 02, primer_fmri." in capsys.readouterr().out
    (tree / STIMULI).unlink()
    assert command.main([*asked, "2", "5"]) == 1
    told = capsys.readouterr().out
    assert "MISSING  images" in told and "-> latentcortex download nsd" in told
    assert "Can run: 02.\nCan't run yet: 05, for want of images." in told
    for wrong in ("16", "primer"):
        assert command.main([*asked, wrong]) == 1
        assert f"got {wrong}" in capsys.readouterr().err
    monkeypatch.delenv("LATENTCORTEX_PRESET", raising=False)
    assert command.main(["check", str(tree), "--chapters", "2"]) == 0  # of the subjects that are there
    assert "betas of subj01, subj02" in capsys.readouterr().out
    assert command.main(["check", str(tree), "--space", "MNI"]) == 1
    assert "fsaverage, fsaverage5, func1pt8mm" in capsys.readouterr().err


def test_a_first_reader_has_no_cache_yet(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "not" / "there"))
    notes = {finding.part: finding.text for finding in nsd.inspect(tree)}
    assert "Free on its disk: " in notes["disk"] and not (tmp_path / "not").exists()
