"""The paper's entries beside a run's: which belong together, whether they agree, and the answer in words."""

import json

import pandas as pd
import pytest
import yaml

from dlrs import config, published, results
from dlrs.config import ROOT

PAPER = config.published()
TEXTS = yaml.safe_load((ROOT / "paper" / "report.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "reports" / "results.json").read_text(encoding="utf-8"))


def test_published_entries_are_spelt_as_in_the_results():
    tree = {
        "table1": {"where": "Table 1", "cea": {"levels": {"Normal": [130, 47]}, "p": 0.06}},
        "cox": {"where": "3.3", "dl_prob": {"hr": 14.387, "ci": [7.428, 27.864], "p": "<0.001"}},
        "fig4": {"pcr": {"where": "Fig. 4", "dm_within_3y_of_high_risk": [3, 7]}},
        "table2": {"c": {"value": 0.865, "ci": [0.814, 0.916]}},
        "open": ["first", "second"],
    }
    assert dict(published.published_entries(tree)) == {
        "table1.cea.levels.Normal.primary": {"value": 130, "where": "Table 1"},
        "table1.cea.levels.Normal.validation": {"value": 47, "where": "Table 1"},
        "table1.cea.p": {"value": 0.06, "where": "Table 1"},
        "cox.dl_prob.hr": {"value": 14.387, "where": "3.3", "ci": [7.428, 27.864]},
        "cox.dl_prob.p": {"value": "<0.001", "where": "3.3"},
        "fig4.pcr.dm_within_3y_of_high_risk": {"value": 3, "n": 7, "where": "Fig. 4"},
        "table2.c": {"value": 0.865, "ci": [0.814, 0.916], "where": ""},
        "open.0": {"value": "first", "where": ""},
        "open.1": {"value": "second", "where": ""},
    }


def test_every_number_of_the_paper_that_the_committed_run_has_is_found_under_its_key(committed):
    absent = {key.split(".")[0] for key in dict(published.published_entries(PAPER)) if key not in committed}
    assert absent <= {"citation", "cohort", "imaging", "software", "cox", "fig3", "supplement", "open_questions"}


def test_agreement_is_that_of_the_printed_digits():
    assert published.as_printed(0.06, 3) == ("0.060", 0.0005)
    assert published.as_printed(0.0059, 3)[0] == "0.0059"
    assert published.as_printed("<0.001", 3)[0] == "<0.001"
    assert published.agrees(0.865, 0.8654) and not published.agrees(0.865, 0.8656)
    assert published.agrees(170, 170.0) and not published.agrees(170, 169.6)
    assert published.agrees("<0.001", 0.0009) and not published.agrees("<0.001", 0.0011)
    assert not published.agrees(0.06, 0.0638, 3)  # 0.064, not 0.060


GOOD = {"class": "SYNTHETIC", "notebook": "06_evaluation", "value": 0.7, "ci": [0.6, 0.8]}


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("table2.cindex.DLRS.validation", {"class": "OURS"}, "no known class"),
        ("table2.cindex.DLRS.validation", {"notebook": "nobody"}, "no source"),
        ("table2.cindex.DLRS.validation", {"ci": None}, "without an interval"),
        ("fig2.tdauc_36m.DLRS.validation", {"ci": [0.6, None]}, "without an interval"),
        ("cox.dl_prob_in_combination.hr", {"ci": None}, "without an interval"),
    ],
)
def test_an_entry_without_class_source_or_interval_is_wrong(key, change, said):
    notebooks = ["06_evaluation", "03_train_sequence"]
    assert published.incomplete_entries({key: GOOD}, notebooks, results.STAMPS) == []
    (wrong,) = published.incomplete_entries({key: GOOD | change}, notebooks, results.STAMPS)
    assert key in wrong and said in wrong


def test_counts_p_values_and_parts_need_no_interval():
    bare = {"class": "SYNTHETIC", "notebook": "03_train_T2W", "value": 1}
    keys = [
        "cohort.n_total",
        "cox.dl_prob_in_combination.p",
        "table2.nri_events.DLRS vs Clinical.primary",
        "audit.nri.x",
    ]
    assert published.incomplete_entries(dict.fromkeys(keys, bare), ["03_train_sequence"], results.STAMPS) == []
    unknown = bare | {"value": None, "reason": "no events"}
    assert published.incomplete_entries({"table2.cindex.a": unknown}, ["03_train_sequence"], results.STAMPS) == []


# ---------------------------------------------------------------- side by side


def test_counts_p_values_and_estimates_are_told_apart():
    estimates = [key for key, said in published.published_entries(PAPER) if "ci" in said]
    assert all(published.kind_of(key) == "estimates" for key in estimates) and len(estimates) >= 19
    assert published.kind_of("table1.gender.p") == published.kind_of("fig4.pcr.n") == "counts"
    assert published.kind_of("fig2.logrank_p.primary") == published.kind_of("fig4.pcr.p") == "P values"


def test_every_entry_has_a_row_and_agreement_counts_what_an_analysis_gives(committed):
    rows = published.beside(committed, PAPER, TEXTS)
    assert rows["key"].tolist() == [key for key, _ in published.published_entries(PAPER)]
    assert rows["why"].ne("").all()
    agreement = published.agreement(rows)
    assert agreement["of"].sum() == rows["same"].notna().sum()
    table1 = rows[rows["key"].str.startswith(("table1.", "cohort.", "fig3.n.")) & rows["same"].notna()]
    sizes = rows[rows["key"].str.fullmatch(r"fig4\.\w+\.n")]
    assert agreement.loc["set by the cohort", "of"] == len(table1) + len(sizes) == rows.query(
        "set_by_cohort and same == same"
    ).shape[0]  # fmt: skip


def test_a_rows_reason_is_that_of_the_longest_beginning_of_its_key(committed):
    rows = published.beside(committed, PAPER, TEXTS).set_index("key")
    assert rows.loc["table2.cindex.Clinical.primary", "why"] == TEXTS["reasons"]["SYNTHETIC"]["table2.cindex.Clinical"]
    assert rows.loc["table2.nri.DLRS vs Clinical.primary", "why"] == TEXTS["reasons"]["any"]["table2.nri"]
    released = published.beside(committed, PAPER, TEXTS, released=True).set_index("key")
    assert released.loc["fig4.pcr.high_risk", "why"] == TEXTS["reasons"]["released"]["fig4"]
    alone = {key: entry for key, entry in committed.items() if entry.get("cohort") == "validation"}
    rows = published.beside(alone, PAPER, TEXTS).set_index("key")
    assert rows.loc["table2.cindex.DLRS.primary", "why"] == "this run has a validation cohort only"


def test_table_2_has_the_cohorts_and_the_papers_numbers_next_to_one_another(committed):
    table = published.side_by_side(published.beside(committed, PAPER, TEXTS))
    assert len(table) == 9 and table.columns.tolist()[:2] == ["Measure", "Model"]
    row = table.query("Measure == 'IDI' and Model == 'DLRS vs Clinical'").iloc[0]
    assert row["Validation, published"] == "0.187 (0.023 to 0.352), P = 0.026"
    entry = committed["table2.idi.DLRS vs Clinical.validation"]
    text = f"{results.format_estimate(entry['value'], *entry['ci'])}, P = {results.format_p(entry['p'])}"
    assert row["Validation, this run"] == text


def test_table_2_beside_the_papers_has_out_of_fold_estimates_and_the_range_over_seeds(committed):
    second = {"table2.cindex.DLRS.primary_oof": entry(0.6214, [0.5, 0.7])}
    seeds = {"validity.seeds.table2_cindex_dlrs_validation": dict(value=0.69, ci=[0.6357, 0.74], n=11)}
    committed = {key: found for key, found in committed.items() if not key.endswith("_oof")}
    rows = published.beside(committed, PAPER, TEXTS)
    table = published.side_by_side(rows, committed | second, seeds).set_index(["Measure", "Model"])
    assert table.loc[("C-index", "DLRS"), "Primary, out-of-fold"] == "0.621 (0.500 to 0.700)"
    assert table.loc[("C-index", "DLRS"), "Validation, over 11 seeds"] == "0.636 to 0.740"
    assert (table.drop(index=("C-index", "DLRS"))[["Primary, out-of-fold", "Validation, over 11 seeds"]] == "").all(
        None
    )
    own = {key: found | {"class": "COHORT"} for key, found in committed.items()}
    assert published.side_by_side(rows, own, seeds).columns.tolist() == published.side_by_side(rows).columns.tolist()


def test_the_optimism_of_the_networks_is_one_sentence_of_a_run_with_two_tracks():
    found = {
        "table2.cindex.Nomogram.primary": entry(0.8, [0.7, 0.9]),
        "table2.cindex.Nomogram.primary_oof": entry(0.69, [0.6, 0.8]),
        "table2.cindex_optimism.Nomogram.primary_oof": entry(0.11, [0.04, 0.18]),
    }
    assert published.optimism(found) == (
        "In the primary cohort the nomogram's C was 0.800 in-sample and 0.690 out-of-fold; the difference, 0.110 "
        "(0.040 to 0.180), is the optimism of evaluating the networks in the patients they were trained on."
    )
    more = {"table2.cindex.Nomogram.validation_oof": entry(0.7, [0.6, 0.8])}
    more["calibration.slope.Nomogram.validation_oof"] = entry(0.95, [0.5, 1.4])
    assert published.optimism(found | more).endswith(
        "it had C 0.700 (0.600 to 0.800) and calibration slope 0.950 (0.500 to 1.400) in the validation cohort."
    )
    assert published.optimism({key: found[key] for key in list(found)[:1]}) == ""


def test_the_range_over_seeds_is_told_of_the_synthetic_cohort_alone():
    seeds = {
        "validity.seeds.table2_cindex_nomogram_validation": dict(value=0.7, ci=[0.65, 0.72], n=11),
        "validity.seeds.table2_cindex_adc_primary": dict(value=0.6, ci=[0.5, 0.7], n=11),
    }
    assert published.over_seeds(seeds, "SYNTHETIC", ["primary", "primary_oof", "validation"]) == (
        "Range of C over 11 training seeds in the last run of the controls: primary in-sample ADC 0.500 to 0.700; "
        "validation Nomogram 0.650 to 0.720."
    )
    assert (
        published.over_seeds(seeds, "COHORT", ["validation"])
        == published.over_seeds({}, "SYNTHETIC", ["primary"])
        == ""
    )


def test_the_overview_takes_percentages_and_names_the_panel(committed):
    frame = published.estimates(committed, PAPER, {"fig4": ["Percentage", ""], "table2.idi": ["IDI", "IDI"]})
    share = frame.set_index("item").loc["pCR, high risk"]
    assert share["published"] == pytest.approx(31.8) and 0 <= share["lower"] <= share["value"] <= share["upper"] <= 100
    assert share["panel"] == "Percentage" and "IDI Nomogram vs Clinical, primary" in set(frame["item"])
    assert len(frame) == 4 + 4 and frame["published_lower"].notna().sum() == 4


# ---------------------------------------------------------------- the answer

NULL = pd.DataFrame(
    {
        "conclusion": ["NRI is better", "C is better", "C is better"],
        "cohort": ["primary", "primary", "validation"],
        "noise": [0.9, 0.4, 0.03],
        "noise_lower": [0.8, 0.3, 0.02],
    }
)


def entry(value, ci, **about):
    return dict(value=value, ci=ci, notebook="06_evaluation", **{"class": "SYNTHETIC"}) | about


FOUND = {f"table2.cindex.{name}.validation": entry(0.7, [0.6, 0.8], n=65) for name in ("Nomogram", "Clinical", "DLRS")}


def test_the_answer_says_discrimination_calibration_null_simulation_and_limits():
    slope = {"calibration.slope.Nomogram.validation": entry(0.5, [0.2, 0.9])}
    controls = {
        "validity.seeds.table2_cindex_nomogram_validation": dict(value=0.69, ci=[0.65, 0.72], n=13),
    }
    discrimination, calibration, null, limits = published.answer(FOUND | slope, PAPER, validity=controls, null=NULL)
    assert discrimination == (
        "In the validation cohort (n = 65) Harrell's C was 0.700 (0.600 to 0.800) for the nomogram, 0.700 (0.600 to "
        "0.800) for the clinical model and 0.700 (0.600 to 0.800) for the signature; published were 0.775, 0.601 and "
        "0.747. In the last run of the controls the nomogram's C ranged from 0.650 to 0.720 over 13 training seeds."
    )
    assert "0.500 (0.200 to 0.900), below the ideal of 1: predicted risks were too extreme" in calibration
    assert "1 of 2 conclusions in the primary cohort and 0 of 1 conclusions in the validation cohort" in null
    assert limits == published.LIMITS["SYNTHETIC"]


def test_the_answer_says_what_was_not_run_and_lends_no_control_to_other_patients():
    controls = {"validity.seeds.table2_cindex_nomogram_validation": dict(value=0.69, ci=[0.65, 0.72], n=13)}
    own = {key: found | {"class": "COHORT"} for key, found in FOUND.items()}
    _, calibration, null, limits = published.answer(own, PAPER, validity=controls, null=None)
    assert "not estimated" in calibration and "No null simulation was run" in null
    assert limits == published.LIMITS["COHORT"]
    slope = {"external.calibration_slope.Nomogram": entry(1.1, [0.8, 1.4]) | {"class": "COHORT"}}
    assert "not distinguishable" in published.answer(own | slope, PAPER, validity={}, null=None)[1]
    assert published.answer({}, PAPER, validity={}, null=None)[0].endswith("was not estimated in this run.")


def test_agreement_moves_with_what_is_called_agreement():
    # C 0.80 (0.70 to 0.90) published. Ours 0.84 is 5 % off and inside the interval; 0.60 is 25 % off and outside, and
    # its interval 0.55 to 0.75 overlaps. P published as <0.001 and 0.2; ours 0.03 and 0.04: the first on the same side.
    interval = {"value": 0.80, "ci": [0.70, 0.90]}
    paper = {"table2": {"where": "Table 2", "cindex": {"A": interval, "B": interval}}}
    paper |= {"fig2": {"where": "Fig. 2", "logrank_p": {"c": "<0.001", "d": 0.2}}}
    entry = {"class": "SYNTHETIC", "notebook": "06_evaluation"}
    found = {"table2.cindex.A": entry | {"value": 0.84, "ci": [0.75, 0.95]}}
    found |= {"table2.cindex.B": entry | {"value": 0.60, "ci": [0.55, 0.75]}}
    found |= {f"fig2.logrank_p.{name}": entry | {"value": p} for name, p in {"c": 0.03, "d": 0.04}.items()}
    rows = published.beside(found, paper, TEXTS)
    table = published.by_tolerance(rows, found, paper)
    said = table.fillna("").apply(lambda row: (row["P values"], row["estimates"]), axis=1).to_dict()
    assert said["as printed"] == ("0 of 2", "0 of 2")
    assert said["relative difference at most 1%"] == ("", "0 of 2")
    assert said["relative difference at most 5%"] == said["relative difference at most 20%"] == ("", "1 of 2")
    assert said["on the same side of 0.05"] == ("1 of 2", "")
    assert said["within the published interval"] == ("", "1 of 2") and said["intervals overlap"] == ("", "2 of 2")
    found["table2.cindex.A"]["value"] = None
    found["table2.cindex.A"] |= {"reason": "one group", "ci": [None, None]}
    table = published.by_tolerance(published.beside(found, paper, TEXTS), found, paper)
    assert table.loc["relative difference at most 20%", "estimates"] == "0 of 2"
