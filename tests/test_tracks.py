"""A study of two tracks: models and cut-offs fitted to in-sample probabilities and to out-of-fold ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from dlrs import cohort, results
from dlrs.config import ROOT
from dlrs.stats import concordance, cox
from dlrs_run import codebook, draft, pages, stages
from dlrs_run.expected import pages_and_frames
from dlrs_site import intake
from executed import entries, execute
from notebook_cells import run_cells

pytestmark = pytest.mark.slow
QUICK = {
    "04_signature": dict(n_boot=20),
    "05_nomogram": dict(n_boot=20, n_refit=10),
    "06_evaluation": dict(n_boot=20, n_band=10),
}


@pytest.fixture(scope="module")
def both(statistics):
    """The committed probabilities have two tracks."""
    return statistics


@pytest.fixture(scope="module")
def one(cohort_read, tmp_path_factory):
    """Run 04 to 06 on a cohort folder with the published track alone."""
    folder = tmp_path_factory.mktemp("tracks")
    run = shutil.copytree(cohort_read, folder / "one")
    shutil.copy(ROOT / "data_synthetic" / "cohort.yaml", folder)
    probabilities = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype=str)
    probabilities.filter(regex="(?<!_oof)$").to_csv(folder / "dl_prob.csv", index=False)
    intake.probabilities(run, folder)
    for name, parameters in QUICK.items():
        run_cells(name, run, **parameters)
    return run


@pytest.fixture(scope="module")
def numbers(both):
    return {key: entry for name in QUICK for key, entry in entries(both, name).items()}


def test_the_published_track_is_that_of_a_run_without_the_other(both, numbers, one):
    alone = {key: entry for name in QUICK for key, entry in entries(one, name).items()}
    assert not [key for key in alone if "_oof" in key]
    assert {key for key in numbers if "_oof" not in key} == set(alone)
    resampled = ("optimism.", "instability.", "fig3.snb_difference", "cindex_comparison")
    for key, entry in alone.items():
        if not key.startswith(resampled):
            assert numbers[key]["value"] == entry["value"], key
    columns = pd.read_csv(one / "interim" / "predictions.csv").columns
    assert not columns.str.endswith("_oof").any()
    pd.testing.assert_frame_equal(
        pd.read_csv(both / "interim" / "predictions.csv")[columns],
        pd.read_csv(one / "interim" / "predictions.csv"),
    )
    for name in ("signature", "nomogram"):
        assert "out_of_fold" not in json.loads((one / "interim" / f"{name}.json").read_text())


def test_the_second_tracks_numbers_are_those_of_models_of_its_probabilities(both, numbers):
    patients = cohort.read_patients(both / "interim" / "patients.csv")
    patients = cohort.tracks(cohort.with_probabilities(patients, both / "interim" / "dl_prob.csv"))["_oof"]
    primary, validation = (patients[patients["cohort"] == name] for name in ("primary", "validation"))
    design, terms = cox.design("ct_stage + cea + ypn_stage + dl_prob", primary, patients)
    fit = cox.cox_fit(primary["time_months"], primary["event"], design.loc[primary.index])
    applied = cox.predict(fit, design, primary, horizon=36.0)
    lp = pd.Series(applied.linear_predictor, patients.index)
    for name, group in {"primary_oof": primary, "validation_oof": validation}.items():
        c = concordance.concordance(group["time_months"], group["event"], lp[group.index])
        found = numbers[f"table2.cindex.Nomogram.{name}"]
        assert [found["value"], *found["ci"]] == pytest.approx([c.c, c.lower, c.upper])
    ratio = numbers["cox.dl_prob_in_combination.hr_per_sd.primary_oof"]
    assert ratio["value"] == pytest.approx(np.exp(fit.coefficients[-1] * primary["dl_prob"].std()))
    saved = json.loads((both / "interim" / "nomogram.json").read_text())["out_of_fold"]
    assert saved["coefficients"] == pytest.approx(dict(zip(design.columns, fit.coefficients, strict=True)))
    assert set(saved["cox"]) == {"DLRS", "T2W", "ADC", "Clinical", "Nomogram"} and saved["interval"]
    assert saved["cutoff_risk"] == numbers["fig3.cutoff_nomogram.primary_oof"]["value"]
    high = (applied.risk[patients.index.get_indexer(validation.index)] > saved["cutoff_risk"]).sum()
    assert 0 < high < len(validation)
    cutoff = json.loads((both / "interim" / "signature.json").read_text())["out_of_fold"]["cutoff_dl_prob"]
    assert numbers["fig2.n_high.validation_oof"]["value"] == (validation["dl_prob"] > cutoff).sum()
    assert cutoff == numbers["fig2.cutoff_dlrs.primary_oof"]["value"] != numbers["fig2.cutoff_dlrs"]["value"]


def test_the_optimism_of_the_networks_is_the_difference_in_the_same_patients(numbers):
    for model in ("Nomogram", "DLRS", "T2W", "ADC"):
        c = [numbers[f"table2.cindex.{model}.{name}"]["value"] for name in ("primary", "primary_oof")]
        found = numbers[f"table2.cindex_optimism.{model}.primary_oof"]
        assert found["value"] == pytest.approx(c[0] - c[1]) and found["ci"][0] < found["value"] < found["ci"][1]
    assert numbers["table2.cindex.Clinical.primary"]["value"] == numbers["table2.cindex.Clinical.primary_oof"]["value"]
    assert "table2.cindex_optimism.Clinical.primary_oof" not in numbers


def test_cross_fitting_compares_the_two_tracks_of_the_run(both, numbers, tmp_path):
    base = shutil.copytree(both, tmp_path / "base")
    patients = cohort.read_patients(base / "interim" / "patients.csv")
    fold = np.where(patients["cohort"] == "primary", np.arange(len(patients)) % 5 + 1, 0)
    patients[["patient_id"]].assign(prob=0.5, fold=fold).to_csv(base / "interim" / "prob_T2W.csv", index=False)
    (tmp_path / "run").mkdir()
    found = execute("09c_cross_fitting", tmp_path / "run", base_dir=str(base))
    for track, end in {"in_sample": "", "cross_fitted": "_oof"}.items():
        saved = json.loads((base / "interim" / "nomogram.json").read_text())
        saved = saved["out_of_fold"] if end else saved
        for key, name in {
            "table2_cindex_dlrs_primary": f"table2.cindex.DLRS.primary{end}",
            "table2_cindex_nomogram_validation": f"table2.cindex.Nomogram.validation{end}",
            "calibration_slope_nomogram_validation": f"calibration.slope.Nomogram.validation{end}",
            "fig2_cutoff_dlrs": f"fig2.cutoff_dlrs{end and '.primary_oof'}",
        }.items():
            value = found[f"validity.crossfit.{track}.{key}"]["value"]
            assert value == pytest.approx(numbers[name]["value"], rel=1e-6), key
        points = saved["points_per_lp"] * saved["coefficients"]["ct_stage[T.cT4]"]
        assert found[f"validity.crossfit.{track}.points_ct_stage_ct4"]["value"] == pytest.approx(points)


def columns_of(table: pages.Table) -> list[str]:
    return [title.removeprefix("Estimate, ") for title in table.columns if title.startswith("Estimate")]


def test_table_2_has_three_columns_with_two_tracks_and_two_with_one(both, one):
    shown, alone = (pages.read_table(run / "tables" / "table2.html") for run in (both, one))
    assert columns_of(alone) == ["primary", "validation"]
    assert columns_of(shown) == ["primary in-sample", "primary out-of-fold", "validation"]
    place, before = ([table.columns.index(title) for title in table.columns if "primary" in title or "valid" in title]
                     for table in (shown, alone))  # fmt: skip
    rows, rows_before = ({(i, row[0]): row for i, row in enumerate(table.rows) if row[1]} for table in (shown, alone))
    assert len(rows) == len(rows_before)
    for row, row_before in zip(rows.values(), rows_before.values(), strict=True):
        assert [row[i] for i in (*place[:2], *place[4:])] == [row_before[i] for i in before]
        assert row[place[2]] and (row[0] == "Clinical") == (row[place[2]] == row[place[0]])
    tidy = pd.read_csv(both / "tables" / "table2.csv")
    assert set(tidy["cohort"]) == {"primary", "primary_oof", "validation"}
    assert tidy.query("measure == 'nri_two_categories'").groupby("cohort")["cutoff"].first().nunique() == 2
    assert "patients" not in pd.read_csv(one / "tables" / "table2.csv")
    assert "out-of-fold: Cox models and cut-offs alone" in shown.notes and "out-of-fold" not in alone.notes
    for text in (pages.latex(shown, stamp="SYNTHETIC"), pages.docx(shown, stamp="SYNTHETIC")):
        assert text
    assert "primary out-of-fold" in pages.latex(shown, stamp="SYNTHETIC")


def test_a_table_of_both_tracks_is_written_with_two_and_taken_away_with_one(both, one):
    assert not (one / "tables" / "both_tracks.html").exists()
    shown = pages.read_table(both / "tables" / "both_tracks.html")
    assert shown.columns[1:4] == ["Primary in-sample", "Primary out-of-fold", "Primary, in-sample less out-of-fold"]
    rows = [row for row in shown.rows if row[0] == "DLRS"]
    assert len(rows) == 2 and all(rows[0][1:]) and not any(rows[1][1:4]) and all(rows[1][4:])
    assert rows[0][4] == rows[0][5] and rows[1][4] != rows[1][5]
    assert pages_and_frames(both / "tables") == []


def test_the_nomograms_page_says_which_track_it_is_of(both, one, tmp_path):
    said = {}
    for name, run in {"two": both, "one": one}.items():
        shutil.copytree(run / "interim", tmp_path / name / "interim")
        stages.nomogram_page(tmp_path / name)
        said[name] = (tmp_path / name / "nomogram.html").read_text(encoding="utf-8")
    assert "with in-sample probabilities as published; a release holds the model of out-of-fold ones" in said["two"]
    assert "in-sample probabilities" not in said["one"]


def test_the_draft_and_the_codebook_know_the_second_track(both, numbers):
    people = entries(both, "01_cohort")
    said = {
        key: " ".join(sum(draft.paragraphs(draft.texts()["results"], found, ["SYNTHETIC", "fitted"]), []))
        for key, found in {
            "two": people | numbers,
            "one": {k: v for k, v in numbers.items() if "_oof" not in k},
        }.items()
    }
    more = numbers["table2.cindex_optimism.Nomogram.primary_oof"]
    text = results.format_estimate(more["value"], *more["ci"]).replace("(", "(95% CI ")
    assert f"in-sample less out-of-fold was {text} for the nomogram" in said["two"]
    assert "out-of-fold" not in said["one"]
    of_run = codebook.of_run(both).query("column == 'lp_Nomogram_oof'")["label"]
    assert of_run.tolist() == ["Linear predictor, Nomogram, out-of-fold"]
