"""Notebooks 09a to 09i: what was not run is listed as such, and a fault is listed once, where it matters."""

import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from dlrs import results
from dlrs.config import ROOT
from dlrs.synthetic import studies
from dlrs_run import pages
from dlrs_site import intake
from executed import execute


def as_run(run, notebook, entries, tables=()):
    """Write a notebook's numbers and tables as if it had run."""
    record = results.start(run, notebook, provenance="SYNTHETIC")
    for name, entry in entries.items():
        record.number(".".join(map(results.key_word, name.split("/"))), **(dict(value=0.5) | entry))
    for name, rows in dict(tables).items():
        record.csv(pd.DataFrame(rows), name)
    record.finish()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The null simulation of four studies and the answer from it alone; then the signal strengths."""
    run, base = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("base")
    intake.stage(base, ROOT / "data_synthetic")
    intake.read_cohort(ROOT / "data_synthetic").patients.to_csv(base / "interim" / "patients.csv", index=False)
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", base / "interim")
    null = execute("09a_null_simulation", run, base_dir=os.fspath(base), n_replicates=4, n_boot=10, jobs=1)
    answer = execute("09h_answer", run, base_dir=os.fspath(base))
    small = dict(n_replicates=2, n_boot=10, jobs=1, trained_signals=[], signals=[0.0, 1.0])
    execute("09b_signal_dial", run, base_dir=os.fspath(base), **small)
    execute("09i_multiverse_null", run, base_dir=os.fspath(base), n_replicates=4, searched=[1, 50], jobs=1)
    return run, null, answer


@pytest.mark.slow
def test_a_search_over_analyses_finds_more_where_scores_are_overfitted(alone):
    found = pd.read_csv(alone[0] / "tables" / "validity_multiverse_search.csv")
    assert set(found["law"]) == {"independent", "as overfitted as the paper"}  # no control on permuted labels here
    assert (
        found.groupby(["law", "conclusion", "scope"])["some"].apply(lambda some: some.is_monotonic_increasing)
    ).all()
    anywhere = found[(found["scope"] == "any patients") & (found["conclusion"] == "independent")]
    some = anywhere[anywhere["k"] == 50].set_index("law")["some"]
    assert some["as overfitted as the paper"] == 1.0
    page = pages.read_table(alone[0] / "tables" / "validity_multiverse_chain.html")
    assert page.notes.startswith("No control on permuted labels")


@pytest.mark.slow
def test_what_was_not_run_is_listed_and_the_rest_answered(alone):
    run, null, answer = alone
    assert null["validity.null.independent.nri_nomogram_against_clinical.validation.any"]["n"] == 4
    assert null["validity.run.null"]["value"] is True
    achieved = null["validity.null.cindex_dl_prob.as_overfitted_as_the_paper.primary"]
    assert achieved["value"] == pytest.approx(0.851, abs=0.04) and achieved["n"] == 4
    assert {entry["value"] for name, entry in answer.items() if name.startswith("validity.run.")} == {None}
    assert len([name for name in answer if name.startswith("validity.run.")]) == 7
    found = pd.read_csv(run / "tables" / "validity.csv", keep_default_na=False).set_index("question")["found"]
    assert (found.drop("null") == "not run").all() and found["null"] == "4 simulated studies of each null model"
    shares = pd.read_csv(run / "tables" / "validity_answer.csv")
    assert len(shares) == 13 and "overfitted" not in shares  # no control on permuted labels: no such model
    assert {"independent", "as overfitted as the paper"} <= set(shares)


@pytest.mark.slow
def test_headings_of_the_tables_are_words_and_no_cell_is_a_raw_number(alone):
    run, *_ = alone
    paths = sorted((run / "tables").glob("*.html"))
    assert len(paths) == 9
    for path in paths:
        table = pages.read_table(path)
        assert all(re.fullmatch(r"[A-Z].*|n", title) and "_" not in title for title in table.columns), path.name
        cells = [cell for row in table.rows for cell in row]
        assert all(len(row) == len(table.columns) for row in table.rows), path.name
        assert not [cell for cell in cells if re.search(r"\d\.\d{6,}|\bnan\b", cell, re.IGNORECASE)], path.name


def shares(finding, law, count, n, **more):
    value, low, high = studies.share(count, n)
    row = dict(law=law, finding=finding, cohort="validation", sides=2, n=n, nominal=0.05)
    for name in ("any", "better", "worse", "positive"):
        row |= {name: value, f"{name}_lower": low, f"{name}_upper": high}
    return row | more


def test_a_fault_is_listed_once_from_twice_the_nominal_error_on(tmp_path):
    findings = ["NRI, Nomogram against clinical", "IDI, Nomogram against clinical", "AUC of DL-prob, DeLong"]
    findings += [
        "C-index, Nomogram against clinical: survcomp, one-sided",
        "DL-prob in the Cox model, likelihood ratio",
    ]
    findings += ["Youden's cut-off, log-rank", "Net benefit, Nomogram above clinical"]
    count = {"Youden's cut-off, log-rank": 400, "AUC of DL-prob, DeLong": 140}  # of 2000: 20 % and 7 %
    null = [
        shares(finding, law, count.get(finding, 100), 2000, cohort=which)
        for law in ("independent", "overfitted")
        for finding in findings
        for which in ("primary", "validation")
    ]
    covered = {"AUC(12 months), DLRS": 340, "C-index, Nomogram": 340, "C-index, DLRS": 372}  # of 400
    covered = [
        dict(law=law, cohort=which, quantity=quantity, **dict(zip(names, studies.share(k, 400), strict=True)))
        for names in [["coverage", "coverage_lower", "coverage_upper"]]
        for law in ("not overfitted", "overfitted")
        for which in ("primary", "validation")
        for quantity, k in covered.items()
        if not (quantity == "C-index, Nomogram" and which == "validation")  # optimism of the fit
    ]
    ratio = dict(cohort="validation", months=36.0, slope=1.0, slope_lower=0.8, slope_upper=1.2)
    calibrated = [
        ratio | dict(model="DLRS", ratio=1.74, lower=1.19, upper=2.53),
        ratio | dict(model="ADC", ratio=2.5, lower=1.8, upper=3.0),
    ]
    control = dict(model="Mask only", measure="C-index", cohort="validation", c=0.55, lower=0.45, upper=0.65)
    said = {"validity/run/null": dict(said="2000 studies")}
    as_run(tmp_path, "09a_null_simulation", said, {"validity_null": null})
    said = {"validity/run/coverage": dict(said="400 studies")}
    as_run(tmp_path, "09d_interval_coverage", said, {"validity_coverage": covered})
    without = {"validity/expected/observed_over_expected_without_predictors/36 months": dict(value=1.39)}
    said = without | {"validity/run/expected": dict(said="calibration")}
    as_run(tmp_path, "09g_calibration_optimism", said, {"validity_expected": calibrated})
    centre = dict(value=0.5, ci=[0.4, 0.6], by_guessing=0.5)
    shortcuts = {f"validity/shortcuts/centre_from_features/{name}": centre for name in ("T2W", "ADC")}
    one_control = dict(value=0.6, n=1, mc_se=None, p=0.2, accepted=True)  # no leak
    shortcuts |= {"validity/shortcuts/permuted_labels/auc": one_control, "validity/run/shortcuts": dict(said="1")}
    as_run(tmp_path, "09f_negative_controls", shortcuts, {"validity_shortcuts": [control]})
    intake.stage(tmp_path, ROOT / "data_synthetic")
    answer = execute("09h_answer", tmp_path, base_dir=os.fspath(tmp_path))
    faults = pd.read_csv(tmp_path / "tables" / "validity_faults.csv")
    listed = list(zip(faults["kind"], faults["fault"].str.replace(":.*", "", regex=True), strict=True))
    interval, test = ("interval", "AUC(12 months), DLRS"), ("test", "Youden's cut-off, log-rank")
    assert listed == [("calibration", "ADC"), test, interval] and answer["validity.faults"]["value"] == 3
    assert answer["validity.answer.the_cut_off_separates_risk_groups.primary.overfitted"]["value"] == 0.2
    told = pages.read_table(tmp_path / "tables" / "validity_answer.html")
    assert told.columns[-2:] == ["Independent, %", "Overfitted, %"] and np.allclose(faults.shape, (3, 3))


def test_instability_over_seeds_is_that_of_the_finished_run_against_the_others(tmp_path):
    """Each seed moves every risk by a known amount, so that MAPE is the mean of the amounts."""
    base, draw = tmp_path / "base", np.random.default_rng(4)
    intake.stage(base, ROOT / "data_synthetic")
    patients = intake.read_cohort(ROOT / "data_synthetic").patients
    patients.to_csv(base / "interim" / "patients.csv", index=False)
    entries, risk = results.load_json(ROOT / "reports" / "results.json"), draw.uniform(0.1, 0.5, len(patients))
    moved = [0.0, 0.02, -0.01, 0.05, -0.04]
    for folder, move in zip([base, *(tmp_path / f"bands/seed-{k}" for k in range(1, 5))], moved, strict=True):
        (folder / "interim").mkdir(parents=True, exist_ok=True)
        signature = patients[["patient_id"]].assign(dl_prob=0.5 + move, high=risk > 0.3)
        signature.to_csv(folder / "interim" / "signature.csv", index=False)
        moved_risk = patients[["patient_id"]].assign(risk_Nomogram=risk + move)
        moved_risk.to_csv(folder / "interim" / "predictions.csv", index=False)
        varied = {k: e | {"value": e["value"] + move} for k, e in entries.items() if isinstance(e["value"], float)}
        results.save_json(entries | varied | {"fig3.cutoff_nomogram": {"value": 0.3}}, folder / "results.json")
    found = execute("09e_training_seeds", tmp_path, base_dir=os.fspath(base), bands_dir=os.fspath(tmp_path / "bands"))
    for cohort in ("primary", "validation"):
        assert found[f"validity.seeds.nomogram_mape_{cohort}"]["value"] == pytest.approx(0.03)
        assert found[f"validity.seeds.nomogram_risk_range_median_{cohort}"]["value"] == pytest.approx(0.09)
        of_cohort = risk[patients["cohort"] == cohort]
        crossed = np.mean([(of_cohort + move > 0.3) != (of_cohort > 0.3) for move in moved[1:]])
        assert found[f"validity.seeds.nomogram_reclassified_{cohort}"]["value"] == pytest.approx(crossed)
        low, high = found[f"validity.seeds.nomogram_oe_{cohort}"]["ci"]
        assert high / low == pytest.approx((of_cohort.mean() + 0.05) / (of_cohort.mean() - 0.04))


def test_what_docs_say_of_the_multiverse_under_the_null_is_what_the_committed_run_gave():
    table = pd.read_csv(ROOT / "reports" / "validity" / "tables" / "validity_multiverse_search.csv")
    of = table.query("law == 'independent' and conclusion == 'improves' and scope == 'validation'").set_index("k")
    text = " ".join((ROOT / "docs" / "multiverse.md").read_text(encoding="utf-8").split())
    assert of.index.max() == 336 and f"In {of.at[1, 'n']} studies with noise" in text
    for k, words in {
        1: "when one analysis was",
        10: "when the best of 10 was",
        336: "when the best of all 336",
    }.items():
        share, low, high = 100 * of.loc[k, ["some", "some_lower", "some_upper"]]
        assert re.search(rf"{share:.1f}% \((95% CI )?{low:.1f} to {high:.1f}\) {words}", text), k
