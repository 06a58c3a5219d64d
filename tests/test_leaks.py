"""Nothing that is learnt depends on the validation cohort, and a leak planted in a notebook is found by that.

The control: the validation patients are exchanged for others, and what 04 and 05 learnt must stay to the last digit.
"""

import shutil

import numpy as np
import pandas as pd
import pytest

from dlrs import results
from notebook_cells import PROBABILITIES, run_cells, write_patients


@pytest.fixture(scope="module")
def two_runs(cohort_read, tmp_path_factory):
    """The committed cohort, and the same primary patients with a validation cohort of other outcomes and images."""
    as_it_is = shutil.copytree(cohort_read, tmp_path_factory.mktemp("leaks") / "as_it_is")
    other = shutil.copytree(as_it_is, as_it_is.with_name("other"))
    patients = pd.read_csv(other / "interim" / "patients.csv", dtype=str, keep_default_na=False)
    table = pd.read_csv(other / "interim" / "dl_prob.csv", dtype={"patient_id": str})
    rng = np.random.default_rng(4)
    rows, judged = (np.flatnonzero(frame["cohort"] == "validation") for frame in (patients, table))
    follow_up = ["time_months", "event", "age", "cea"]
    patients.loc[rows, follow_up] = patients.loc[rng.permutation(rows), follow_up].to_numpy()
    table.loc[judged, PROBABILITIES] = table.loc[rng.permutation(judged), PROBABILITIES].to_numpy() * 0.7
    write_patients(other, patients, table)
    return as_it_is, other


def learnt(run, *edits, nomogram=False):
    """Return what 04, or 04 and 05, learn from a run's patients; `edits` change 04."""
    run_cells("04_signature", run, edits=edits, until="interim/signature.json", n_boot=20)
    kept = results.load_json(run / "interim" / "signature.json")
    if nomogram:
        run_cells("05_nomogram", run, until="interim/nomogram.json", n_boot=20, n_refit=10)
        kept |= results.load_json(run / "interim" / "nomogram.json")
    return kept


READ = "tracks = {end: table.assign(binary=binary) for end, table in tracks.items()}"
Z_SCORE = 'tracks[""]["dl_prob"] = (lambda prob: (prob - prob.mean()) / prob.std())(tracks[""]["dl_prob"])'
PRIMARY = 'primary = cohorts["primary"]'
LEAKS = {
    "a cut-off from the validation cohort": ('evaluable["primary"] if', 'evaluable["validation"] if'),
    "a z-score over all patients": (READ, f"{READ}\n{Z_SCORE}"),
    "validation patients among those of the fit": (PRIMARY, "primary = patients"),
}


@pytest.mark.slow
def test_what_is_learnt_does_not_depend_on_validation_patients(two_runs):
    one, other = (learnt(run, nomogram=True) for run in two_runs)
    assert one == other and len(one["cox"]) == 5 and one["cutoff_risk"] > 0


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_planted_leak_is_found(two_runs, leak):
    one, other = (learnt(run, leak) for run in two_runs)
    found = {name for name in one if one[name] != other[name]}
    assert found & {"cutoff_dl_prob", "cox"}
