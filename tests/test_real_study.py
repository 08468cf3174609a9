"""Every chapter and data script on stand-ins of NSD, Stable Diffusion and the protocols' networks.

Run by ``make test-real``, because it takes most of half an hour. The report lies in ``.cache/real``,
which git ignores. ``LATENTCORTEX_TEST_REAL=func1pt8mm`` (or another space) runs it in that space.
"""

import json
import os
from pathlib import Path

import pytest
from standins import diffusion, runs, study

CLONE = Path(__file__).resolve().parents[1]
ASKED = os.environ.get("LATENTCORTEX_TEST_REAL")
FOLDER = CLONE / ".cache" / "real"
# What only simulated data can answer: refused in words before anything is computed.
REFUSED = {
    "ch13_recover_maps": "only the preset 'mini' simulates it",
    "ch14_leave_kinds_out": "run this script with the preset 'mini'",
}
slow = pytest.mark.skipif(not ASKED, reason="takes half an hour: make test-real")


def test_the_stand_in_has_as_many_parameters_as_stable_diffusion():
    assert diffusion.parameters(diffusion.FULL) == diffusion.PARAMETERS


@pytest.fixture(scope="module")
def settings():
    return study.write_study(FOLDER, ASKED if ASKED in study.ON_DISK else "fsaverage5")


@pytest.fixture(scope="module")
def records():
    found = []
    yield found
    runs.write_report(found, FOLDER / "report.md")
    (FOLDER / "report.json").write_text(json.dumps(found, indent=1))


@slow
@pytest.mark.parametrize("path", [*runs.CHAPTERS, *runs.SCRIPTS], ids=lambda path: path.stem)
def test_it_runs_on_what_a_real_study_has(path, settings, records):
    record = runs.run(path, settings, FOLDER / "cache")
    records.append(record)
    if path.stem in REFUSED:
        assert len(record["errors"]) == 1 and REFUSED[path.stem] in record["errors"][0]
    else:
        assert record["errors"] == []
