"""What printed numbers imply about each other, and the audit notebook that is made of it."""

import json
import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from dlrs import audit, config, results

NOTEBOOK = config.ROOT / "notebooks" / "00_paper_audit.ipynb"
PUBLISHED = "paper/paper_results.yaml"
PERCENTAGES = "paper/printed_percentages.yaml"


# ---------------------------------------------------------------- printed numbers


def test_a_number_matches_when_it_would_be_printed_so():
    assert audit.matches(21.2, 100 * 36 / 170, decimals=1)  # 21.176
    assert not audit.matches(21.3, 100 * 36 / 170, decimals=1)
    assert audit.matches(0.06, 0.0604) and not audit.matches(0.06, 0.0606)  # 0.060 has three decimals
    assert audit.matches(0.0059, 0.00594) and not audit.matches(0.0059, 0.0064)  # printed with four
    assert audit.matches("<0.001", 0.0009) and not audit.matches("<0.001", 0.0011)
    assert audit.matches(0.026, 0.0250, 0.0267) and not audit.matches(0.026, 0.0240, 0.0250)
    assert audit.matches(0.5, 0.45, decimals=1) and audit.matches(0.4, 0.45, decimals=1)  # half-way


def test_numbers_are_shown_with_the_digits_they_were_printed_with():
    assert [audit.as_printed(p) for p in (0.06, 0.0059, "<0.001", 0.634)] == ["0.060", "0.0059", "<0.001", "0.634"]
    assert audit.as_printed(60.0, 2) == "60.00"


def test_a_row_needs_a_verdict_and_an_innocent_cause():
    row = audit.claim("a.b", "item", "Table 9", 3, True, "3", recomputed=3)
    assert row.agrees == "yes" and row.published == "3" and math.isnan(row.lower)
    with pytest.raises(ValueError, match="agrees must be True, False, None or 'no claim'; found 'maybe' at a.b"):
        audit.claim("a.b", "item", "Table 9", 3, "maybe", "3")
    with pytest.raises(
        ValueError, match="innocent must offer an explanation where a number differs; found none at a.b"
    ):
        audit.claim("a.b", "item", "Table 9", 3, False, "4")


# ---------------------------------------------------------------- intervals


def test_the_clinical_model_would_be_symmetric_with_0_470():
    # middle of 0.487 and 0.732 is 0.6095, 0.0085 above the estimate; rounding can make 0.001
    found = audit.read_interval(0.601, 0.487, 0.732)
    assert found.off_centre == pytest.approx(-0.0085) and found.tolerance == pytest.approx(0.001, abs=1e-8)
    assert not found.symmetric
    assert (
        "symmetric would be 0.470 to 0.732 or 0.487 to 0.715"
        in audit.centred("k", "i", "w", 0.601, [0.487, 0.732]).finding
    )
    assert audit.read_interval(0.601, 0.470, 0.732).symmetric


def test_standard_error_and_p_of_an_interval():
    found = audit.read_interval(0.599, 0.501, 0.697)
    assert found.se == pytest.approx(0.196 / 3.919928, rel=1e-6) and f"{found.se:.3f}" == "0.050"
    assert found.se_low < found.se < found.se_high
    # 0.187 / (0.329 / 3.92) = 2.228; the smallest z by rounding is 0.1865 / (0.330 / 3.92)
    found = audit.read_interval(0.187, 0.023, 0.352)
    assert found.z == pytest.approx(2.228, abs=5e-4) and found.p == pytest.approx(0.02588, abs=5e-6)
    assert found.p_high == pytest.approx(2 * stats.norm.sf(0.1865 / (0.330 / (2 * audit.Z95))))
    assert found.p_low < found.p < found.p_high


def test_a_ratio_is_read_on_the_log_scale():
    found = audit.read_interval(14.387, 7.428, 27.864, log=True)
    assert found.symmetric and found.z == pytest.approx(math.log(14.387) / found.se)
    assert not audit.read_interval(14.387, 7.428, 27.864).symmetric
    assert audit.read_interval(1.0, 0.5, 2.0, log=True).p == pytest.approx(1)


def test_rounding_to_no_effect_has_a_p_of_one_in_reach():
    assert audit.read_interval(0.0, -0.1, 0.1).p_high == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.9, 0.1, 0.5), "the interval must hold its estimate; found 0.9"),
        ((0.3, 0.5, 0.1), "the interval must hold its estimate; found 0.3"),
    ],
)
def test_an_interval_without_its_estimate_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        audit.read_interval(*arguments)


def test_a_ratio_must_be_positive():
    with pytest.raises(ValueError, match="lower must be positive for a ratio; found 0.0"):
        audit.read_interval(1.0, 0.0, 2.0, log=True)


def test_mean_and_sd_of_two_groups_together():
    # (1, 3) and (5, 7, 9): together mean 5, squares 16 + 4 + 0 + 4 + 16 = 40, SD sqrt(40 / 4)
    mean, sd = audit.pooled_mean_sd((2, 3), (2.0, 7.0), (math.sqrt(2), 2.0))
    assert (mean, sd) == (pytest.approx(5), pytest.approx(math.sqrt(10)))


# ---------------------------------------------------------------- NRI and C-index


@pytest.mark.parametrize(("nri", "events", "others"), [(0.599, 36, 126), (0.395, 19, 43), (-0.3, 30, 10), (1.6, 9, 20)])
def test_the_smallest_error_of_a_continuous_nri_is_that_of_the_best_split(nri, events, others):
    part = np.linspace(max(-1, nri - 1), min(1, nri + 1), 100_001)
    variance = (1 - part**2) / events + (1 - (nri - part) ** 2) / others
    assert audit.smallest_nri_se(nri, events, others) == pytest.approx(math.sqrt(variance.min()), rel=1e-9)


def test_the_paper_s_nri_has_a_smaller_error_than_a_continuous_one_can_have():
    # all 36 events up, so the 126 others give 0.599 - 1 = -0.401: sqrt((1 - 0.401^2) / 126)
    assert audit.smallest_nri_se(0.599, 36, 126) == pytest.approx(math.sqrt((1 - 0.401**2) / 126))
    assert audit.read_interval(0.599, 0.501, 0.697).se_high < audit.smallest_nri_se(0.599, 42, 128)
    with pytest.raises(ValueError, match=r"nri must lie in \[-2, 2\]; found 2.1"):
        audit.smallest_nri_se(2.1, 36, 126)


@pytest.mark.parametrize("sides", [1, 2])
def test_the_implied_correlation_gives_the_p_back(sides):
    r = audit.implied_correlation(0.028, 0.041, 0.042, 0.026, 64, sides=sides)
    t = 0.028 / math.sqrt(0.041**2 + 0.042**2 - 2 * r * 0.041 * 0.042)
    assert sides * stats.t.sf(t, 64) == pytest.approx(0.026) and abs(r) < 1


def test_an_impossible_p_has_a_correlation_below_minus_one():
    # with r = -1 the error of the difference is largest, 0.083: 0.028 has at least t = 0.337, so P at most 0.37
    assert audit.implied_correlation(0.028, 0.041, 0.042, 0.40, 64, sides=1) < -1
    assert math.isnan(audit.implied_correlation(0.028, 0.041, 0.042, 0.60, 64, sides=1))
    with pytest.raises(ValueError, match="sides must be 1 or 2; found 3"):
        audit.implied_correlation(0.028, 0.041, 0.042, 0.026, 64, sides=3)


def test_the_pairs_outside_the_auc_are_bounded():
    # 2 early events (9, 3), 1 lost, 1 late event (7), 2 free (5, 1), followed in this order:
    # 9 early, lost (4), 3 early, late 7, free 5, free 1
    score, event = np.array([9, 4, 3, 7, 5, 1]), np.array([1, 0, 1, 1, 0, 0], bool)
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if event[i]]
    right = {pair: score[pair[0]] > score[pair[1]] for pair in pairs}
    inside = [pair for pair in pairs if pair[0] in (0, 2) and pair[1] >= 3]
    outside = [pair for pair in pairs if pair not in inside]
    c, auc = np.mean(list(right.values())), np.mean([right[pair] for pair in inside])
    counts = dict(early=2, lost=1, late=1, free=2)
    # of 1 + 0 pairs at least and 1 + 2 + 2 at most the order is 2 early-early, early-lost and late-free pairs
    low, high = audit.cindex_outside_auc(c, auc, **counts)
    found = c - (auc - c) * len(inside) / len(outside)
    assert found == pytest.approx(np.mean([right[pair] for pair in outside]))
    assert low <= found <= high


def test_with_the_paper_s_numbers_the_other_pairs_are_ordered_by_chance_or_worse():
    low, high = audit.cindex_outside_auc(0.747, 0.892, early=19, lost=3, late=7, free=36)
    # 19 * 43 = 817 pairs inside; outside at least 171 + 21, at most 171 + 21 + 57 + 252 = 501
    assert high == pytest.approx(0.747 - 0.145 * 817 / 501) and low == pytest.approx(0.747 - 0.145 * 817 / 192)


COUNTS = dict(early=5, lost=2, late=3, free=10)


@pytest.mark.parametrize("censoring", audit.CENSORINGS)
def test_simulated_cohorts_without_effect_are_at_one_half_and_with_a_huge_one_at_one(censoring):
    score = config.stream(1, "score").normal(size=(2000, 20))
    useless = audit.cohorts_under_ph(1e-9 * score, **COUNTS, censoring=censoring, generator=config.stream(1, "a"))
    for column in ("auc", "cindex"):
        error = useless[column].std() / math.sqrt(2000)
        assert abs(useless[column].mean() - 0.5) < 4 * error
    perfect = audit.cohorts_under_ph(1e6 * score, **COUNTS, censoring=censoring, generator=config.stream(1, "b"))
    assert perfect["auc"].mean() > 0.99 and perfect["cindex"].mean() > 0.99


def test_the_first_event_is_drawn_by_the_hazards():
    # hazards 2, 1, 1: the event is the first patient's with probability 2 / 4, and then AUC and C are 1;
    # otherwise the event has a lower score than the first and ties with the other: (0 + 0.5) / 2
    score = np.tile([math.log(2), 0.0, 0.0], (20_000, 1))
    found = audit.cohorts_under_ph(
        score, early=1, lost=0, late=0, free=2, censoring="mixed", generator=config.stream(2, "first")
    )
    assert (found["auc"] == found["cindex"]).all() and set(found["auc"]) == {0.25, 1.0}
    assert abs((found["auc"] == 1).mean() - 0.5) < 4 * math.sqrt(0.25 / 20_000)


def test_simulated_counts_and_censoring_are_checked():
    score = np.zeros((2, 19))
    with pytest.raises(ValueError, match=r"must add up to n \(19\); found 20"):
        audit.cohorts_under_ph(score, **COUNTS, censoring="mixed", generator=config.stream(1))
    with pytest.raises(ValueError, match="censoring must be one of mixed, .*; found 'never'"):
        audit.cohorts_under_ph(np.zeros((2, 20)), **COUNTS, censoring="never", generator=config.stream(1))


# ---------------------------------------------------------------- the notebook


def execute(run_dir, *, skip=(), **changes):
    """Run the notebook's cells in this process, with other parameters, and return what they defined."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    namespace = {"__name__": "__main__"}
    with mpl.rc_context():
        for number, cell in enumerate(cells):
            source = "".join(cell["source"])
            if not any(word in source for word in skip):
                exec(compile(source, f"code cell {number}", "exec"), namespace)
            if "parameters" in cell["metadata"].get("tags", []):
                namespace |= dict(run_dir=str(run_dir)) | changes
    plt.close("all")
    return namespace


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, execute(run, n_simulated=1500)["audited"].set_index("key")


def leaves(node, path=""):
    if isinstance(node, dict):
        for name, child in node.items():
            yield from leaves(child, f"{path}.{name}".lstrip("."))
    else:
        yield path, node


def test_every_published_percentage_interval_and_p_is_audited(done):
    _, rows = done
    paper = config.published(PUBLISHED)
    wanted = {
        path
        for path, _ in leaves(paper)
        if path.split(".")[-1] in ("percent", "ci", "p") or path.endswith("_percent") or "logrank_p" in path
    }
    for path, counts in leaves(paper["table1"]):
        if ".levels." in path:
            assert len(counts) == 2
            wanted |= {f"table1.{path}.{cohort}" for cohort in ("primary", "validation")}
    wanted |= {f"open_questions.{place}" for place in range(len(paper["open_questions"]))}
    assert len(wanted) > 100 and wanted - set(rows.index) == set()


def test_every_percentage_printed_beside_a_count_is_audited(done):
    _, rows = done
    for path, given in leaves(config.published(PERCENTAGES)):
        if path.startswith("table1."):
            _, name, level = path.split(".")
            for percent, cohort in zip(given, ("primary", "validation"), strict=True):
                row = rows.loc[f"table1.{name}.levels.{level}.{cohort}"]
                assert row["published"] == f"{percent:.2f}%" and row["agrees"] == "yes"
        else:
            assert rows.loc[path.removesuffix("_percent"), "published"] == f"{given}%"


def test_what_differs_is_what_is_known_to_differ(done):
    _, rows = done
    differs = rows[rows["agrees"] == "no"]
    assert set(differs.index) == {
        "cohort.minimum_follow_up_months",
        "table2.cindex.Clinical.validation.ci",
        "table2.cindex.best_image_signature.primary",
        "table2.cindex.DLRS.validation.value",
    }
    assert (differs["innocent"] != "").all()


def test_numbers_that_a_reader_will_quote(done):
    _, rows = done
    assert "0.470 to 0.732" in rows.loc["table2.cindex.Clinical.validation.ci", "finding"]
    assert rows.loc["fig4.pcr.dm_within_3y_of_low_risk", "upper"] == pytest.approx(100 * (1 - 0.025 ** (1 / 15)))
    assert "exact 0.0 to 21.8%" in rows.loc["fig4.pcr.dm_within_3y_of_low_risk", "finding"]
    assert "Wilson 15.8 to 75.0%" in rows.loc["fig4.pcr.dm_within_3y_of_high_risk", "finding"]
    assert "SE 0.0500" in rows.loc["table2.nri.Nomogram vs Clinical.primary.ci", "finding"]
    assert "at least 0.081" in rows.loc["table2.nri.Nomogram vs Clinical.primary.continuous", "finding"]
    assert rows.loc["cohort.age_all.sd", "recomputed"] == pytest.approx(11.1582197628497)  # R
    assert rows.loc["fig4.high_risk", "recomputed"] == 90 == 7 + 83
    assert rows.loc["fig4.pcr.n", "recomputed"] == 9
    assert rows.loc["sample_size.events_per_parameter", "recomputed"] == 42 / 16
    # three events, all among 7 of 22 at risk, then 6 of 21, 5 of 20; exact: 7 * 6 * 5 / (22 * 21 * 20)
    share = np.array([7 / 22, 6 / 21, 5 / 20])
    chi2 = (3 - share.sum()) ** 2 / (share * (1 - share)).sum()
    assert rows.loc["fig4.pcr.p", "recomputed"] == pytest.approx(stats.chi2.sf(chi2, 1))
    assert f"{7 * 6 * 5 / (22 * 21 * 20):.3f} by the exact test" in rows.loc["fig4.pcr.p", "finding"]


def test_c_beside_auc_under_proportional_hazards(done):
    _, rows = done
    beside = rows.loc["table2.cindex.DLRS.validation.value"]
    assert 0.81 < beside["recomputed"] < 0.86 and beside["lower"] > 0.747
    assert 0.77 < rows.loc["fig2.tdauc_36m.DLRS.validation.beside_cindex", "recomputed"] < 0.81


def test_the_p_values_of_table_1_equal_r_and_each_is_matched(done):
    run, rows = done
    reference = json.loads((Path(__file__).parent / "reference" / "table1_pvalues.json").read_text(encoding="utf-8"))
    ours = pd.read_csv(run / "tables" / "audit_table1_p.csv").set_index("characteristic")
    names = {"Fisher": "p_fisher", "exact chi-square": "p_chi2_exact_conditional", "Yates": "p_chi2_yates"}
    names |= {"chi-square": "p_chi2", "likelihood ratio": "p_likelihood_ratio_G"}
    for name in ours.index:
        expected = reference[next(key for key in reference if key.lower() == name)]
        for column, key in names.items():
            if key in expected:
                assert ours.loc[name, column] == pytest.approx(expected[key], rel=1e-7), (name, column)
        if not expected["published"].startswith("<"):
            found = [column for column, key in names.items() if key in expected.get("matches_to_3_decimals", [])]
            assert rows.loc[f"table1.{name}.p", "finding"].split("; ")[0].split(": ")[1] == ", ".join(found)
    assert len(ours) == 12


def test_tables_figure_and_results_are_written(done):
    run, rows = done
    written = pd.read_csv(run / "tables" / "audit.csv")
    assert written["key"].tolist() == rows.index.tolist() and set(written["class"]) == {"PUBLISHED"}
    order = [audit.VERDICTS.index(verdict) for verdict in written["agrees"]]
    assert order == sorted(order)  # what differs comes first
    page = (run / "tables" / "audit.html").read_text(encoding="utf-8")
    assert "a difference may have an innocent cause" in page and f"{(rows['agrees'] == 'no').sum()} differ" in page
    assert (run / "figures" / "audit.png").stat().st_size > 50_000
    entries, missing = results.collect(run)
    assert missing == [] and {f"audit.{key}" for key in rows.index} < entries.keys()
    assert entries["audit.rows.no"]["value"] == (rows["agrees"] == "no").sum()
    assert {entry["class"] for entry in entries.values()} == {"PUBLISHED"}


PLANTED = {
    "cohort.men.percent": 70.31,
    "cohort.age_all.sd": 11.26,
    "cohort.dm_within_3y.primary.percent": 22.1,
    "table1.ct_stage.p": 0.03,
    "table1.cea.levels.Elevated": [41, 18],
    "table2.idi.DLRS vs Clinical.validation.p": 0.036,
    "table2.nri.DLRS vs Clinical.primary.ci": [0.416, 0.651],
    "cindex_comparison.Nomogram vs DLRS.p": 0.9,
    "cox.dl_prob_in_combination.ci": [7.428, 28.864],
    "fig4.non_pcr.n": 214,
    "fig4.downstaging.high_risk_percent": 22.7,
    "fig4.pcr.p": 0.0095,
    "fig1.auc.DL-prob.validation": 0.8926,
}


def test_planted_errors_are_found(done, tmp_path):
    paper = config.published(PUBLISHED)
    for path, value in PLANTED.items():
        *parents, last = path.split(".")
        node = paper
        for name in parents:
            node = node[name]
        assert last in node and node[last] != value
        node[last] = value
    paper["open_questions"].append("a question that nobody has thought of")
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(paper), encoding="utf-8")
    printed = config.published(PERCENTAGES)
    printed["table1"]["ypn_stage"]["ypN1"][1] = 38.64  # two digits swapped
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(printed), encoding="utf-8")
    files = dict(published_file=str(tmp_path / "paper.yaml"), percentages_file=str(tmp_path / "printed.yaml"))
    rows = execute(tmp_path, skip=("draw_",), n_simulated=1500, **files)["audited"].set_index("key")
    expected = set(PLANTED) - {"table1.cea.levels.Elevated"}
    # one count too many shows in its percentage, in the total, and in the P that no test gives any more
    expected |= {"table1.cea.levels.Elevated.primary", "table1.cea.total.primary", "table1.cea.p"}
    # one non-pCR patient too many also unbalances the high-risk totals, and a share of 130 in 214
    expected |= {"fig4.high_risk", "fig4.non_pcr.low_risk_percent"}
    expected.add("table1.ypn_stage.levels.ypN1.validation")
    before = set(done[1].index[done[1]["agrees"] == "no"])
    assert set(rows.index[rows["agrees"] == "no"]) == before | expected
    assert rows.loc[f"open_questions.{len(paper['open_questions']) - 1}", "finding"] == "no answer written yet"
