"""Tables and designs that were cut or contradict themselves or each other are refused by name."""

import shutil

import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from latentcortex import nsd

LOG = "nsddata/ppdata/subj01/behav/responses.tsv"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


@pytest.fixture
def tree(tiny_tree, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_tree, tmp_path / "nsd")


@pytest.mark.parametrize("n_rows", [119, 100, 81])
def test_a_log_that_ends_within_a_session_is_refused(tree, n_rows):
    path = tree / LOG
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: n_rows + 1]))
    with pytest.raises(ValueError, match=rf"{path} has {n_rows} trials .*sessions end after 40, 80, 120"):
        nsd.trials(tree, "subj01")


def test_a_log_that_ends_between_sessions_is_held_against_the_betas_on_disk(tree):
    path = tree / LOG
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:81]))
    with pytest.raises(ValueError, match=rf"{path} ends with session 2, but betas of session 3 lie in"):
        nsd.betas(tree, "subj01", sessions=1)
    for betas in tree.glob("nsddata_betas/ppdata/subj01/*/*/*betas_session03*"):
        betas.unlink()
    assert len(nsd.betas(tree, "subj01")) == 80


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("SESSION", 3, 2, "another session, run or trial .* in 1 trials, the first being trial 4"),
        ("RUN", 0, 9, "another session, run or trial .* trial 1"),
        ("TRIAL", 5, 1.25, r"TRIAL in .*1 of 120 numbers are fractions.*1\.25"),
        ("ISOLD", 0, 1, "calls a new image old"),
        ("ISCORRECT", 7, 3, "an answer that is not 0, 1 or NaN .* trial 8"),
        ("RT", 9, -400, "a time below 0 .* trial 10"),
        ("RT", 9, "4oo", "a time below 0 .* trial 10"),
    ],
)
def test_a_log_with_impossible_entries_is_refused(tree, column, row, value, message):
    path = tree / LOG
    log = pd.read_csv(path, sep="\t").astype({column: object})
    log.loc[row, column] = value
    log.to_csv(path, sep="\t", index=False, na_rep="NaN")
    with pytest.raises(ValueError, match=message) as caught:
        nsd.trials(tree, "subj01")
    assert str(path) in str(caught.value)


def test_a_design_that_contradicts_itself_is_refused(tree):
    """One shared image under another number made a test image a training image, silently."""
    path = tree / DESIGN
    content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    spoiled = {name: value.copy() for name, value in content.items()}
    spoiled["sharedix"][0, 2] += 1
    for design in (spoiled, content | {"masterordering": content["masterordering"] + 40}):
        savemat(path, design)
        with pytest.raises(ValueError, match=rf"{path} contradicts itself"):
            nsd.trials(tree, "subj01")
    savemat(path, content | {"masterordering": content["masterordering"] + 0.3})
    with pytest.raises(ValueError, match=r"masterordering in .*nsd_expdesign.mat: 120 of 120 numbers"):
        nsd.trials(tree, "subj01")
    # A mark of MATLAB's logical type is as good as a number.
    savemat(path, content | {"stimpattern": content["stimpattern"].astype(bool)})
    assert len(nsd.trials(tree, "subj01")) == 120


def test_a_table_of_stimuli_shorter_than_the_design_is_refused(tree):
    path = tree / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    table = pd.read_csv(path, index_col=0)
    table[:60].to_csv(path)
    with pytest.raises(ValueError, match=rf"{path} has 60 rows, but has to name each image from 0 to .* 71"):
        nsd.captions(tree, [3])
    table.assign(cocoId=7, cocoSplit="train2017").to_csv(path)
    with pytest.raises(ValueError, match="the same image, in several rows"):
        nsd.captions(tree, [3])
