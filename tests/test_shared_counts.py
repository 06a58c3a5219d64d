"""What is hidden in a shared run is solved for, from everything else that the run leaves."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from dlrs import results
from dlrs.config import ROOT
from dlrs_site import intake
from notebook_cells import run_cells, write_patients

SMALLEST, MOST = 5, 1000.0  # the smallest count that is shown; more than there are patients


class Attack:
    """Whole numbers that are known, bounded or unknown, and the linear relations that a reader knows of them."""

    def __init__(self):
        self.low, self.high, self.rows, self.limits = {}, {}, [], []

    def shown(self, name, text):
        """Add what is printed of a count."""
        text = str(text)
        bounds = (0, MOST)
        if re.fullmatch(r"\d+(\.0)?", text):
            bounds = (float(text),) * 2
        elif text.startswith("<"):
            bounds = (1, int(text[1:]) - 1)
        low, high = self.low.get(name, 0), self.high.get(name, MOST)
        self.low[name], self.high[name] = max(low, bounds[0]), min(high, bounds[1])

    def relation(self, terms, low, high):
        for name in terms:
            self.shown(name, "")
        self.rows.append(terms)
        self.limits.append((low, high))

    def total(self, names, of):
        """Say that counts add up to a number, or to another count."""
        terms = dict.fromkeys(names, 1.0)
        if isinstance(of, tuple):
            self.relation({**terms, of: -1.0}, 0, 0)
        else:
            self.relation(terms, of, of)

    def at_most(self, part, whole):
        self.relation({part: 1.0, whole: -1.0}, -np.inf, 0)

    def solved(self) -> dict:
        """Return the counts from 1 to 4 that are not printed and have one value in every solution."""
        names = list(self.low)
        place = {name: i for i, name in enumerate(names)}
        matrix = np.zeros((len(self.rows), len(names)))
        for row, terms in enumerate(self.rows):
            for name, factor in terms.items():
                matrix[row, place[name]] = factor
        low, high = (np.array([side[name] for name in names]) for side in (self.low, self.high))
        known = dict(constraints=LinearConstraint(matrix, *np.array(self.limits).T), bounds=Bounds(low, high))
        known["options"] = dict(presolve=False)  # HiGHS' presolve calls some of these infeasible that are not
        found = {}
        for name in (name for name in names if self.low[name] != self.high[name]):
            ends = []
            for sign in (1.0, -1.0):
                goal = np.zeros(len(names))
                goal[place[name]] = sign
                solution = milp(goal, integrality=np.ones(len(names)), **known)
                assert solution.status == 0, (name, solution.message)
                ends.append(round(solution.x[place[name]]))
            if ends[0] == ends[1] and 0 < ends[0] < SMALLEST:
                found[name] = ends[0]
        return found


def table(run, name):
    return pd.read_csv(run / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)


def known_of(entries, key):
    return entries.get(key, {}).get("value")


def attack_on(run) -> Attack:
    """Collect the counts of all tables and results entries, and how they belong together."""
    attack, entries = Attack(), {}
    for path in (run / "results").glob("*.json"):
        entries |= json.loads(path.read_text(encoding="utf-8"))["entries"]
    number = lambda value: "" if value is None else value  # noqa: E731
    table1 = table(run, "table1").query("mean == '' and level not in ['years, mean ± SD']")
    of = {row.cohort: float(row.of) for row in table1.itertuples()}
    for row in table1.itertuples():
        name = ("table 1", row.characteristic, row.level, row.cohort)
        attack.shown(name, row.n)
        attack.shown(name, f"{float(row.percent) * of[row.cohort] / 100:.0f}" if row.percent else "")
        attack.shown(name, number(known_of(entries, f"table1.{row.characteristic}.levels.{row.level}.{row.cohort}")))
    for (factor, name), rows in table1.groupby(["characteristic", "cohort"]):
        attack.total([("table 1", factor, level, name) for level in rows["level"]], of[name])
    everybody = sum(of.values())
    in_words = {"men": ("gender", "Male"), "women": ("gender", "Female")}
    for word, level in in_words.items():
        attack.total([("table 1", *level, name) for name in of], ("all", *level))
        attack.shown(("all", *level), number(known_of(entries, f"cohort.{word}.total")))
        for name in of:
            attack.shown(("table 1", *level, name), number(known_of(entries, f"cohort.{word}.{name}")))
    percent = known_of(entries, "cohort.adjuvant_chemotherapy.percent")
    chemotherapy = ("all", "adjuvant_chemotherapy", "Yes")
    attack.total([("table 1", *chemotherapy[1:], name) for name in of], chemotherapy)
    attack.shown(chemotherapy, "" if percent is None else f"{percent * everybody / 100:.0f}")
    for row in table(run, "equation").query("mean != ''").itertuples():
        if level := re.fullmatch(r"(\w+)\[T\.(.*)\]", row.covariate):
            attack.shown(("table 1", *level.groups(), "primary"), f"{float(row.mean) * of['primary']:.0f}")

    table_s2 = table(run, "tableS2").query("level != 'mean'")
    for row in table_s2.itertuples():
        sides = [("table S2", row.characteristic, row.level, row.cohort, side) for side in ("high", "low")]
        for side, shown in zip(sides, (row.high, row.low), strict=True):
            attack.shown(side, shown)
        attack.total(sides, ("table 1", row.characteristic, row.level, row.cohort))
        if row.characteristic == "histology":
            found = known_of(entries, f"cohort.variants.{row.level}.{row.cohort}")
            attack.shown(("table 1", "histology", row.level, row.cohort), number(found))
    for (factor, name), rows in table_s2.groupby(["characteristic", "cohort"]):
        for side in ("high", "low"):
            attack.total([("table S2", factor, level, name, side) for level in rows["level"]], ("DLRS", name, side))
        attack.total([("table 1", factor, level, name) for level in rows["level"]], of[name])
    for name in of:
        attack.total([("DLRS", name, "high"), ("DLRS", name, "low")], of[name])
        attack.shown(("DLRS", name, "high"), number(known_of(entries, f"fig2.n_high.{name}")))

    metastases = ("table 1", "distant_metastasis", "Yes")
    attack.total([(*metastases, name) for name in of], ("all", "metastases"))
    attack.total([("nomogram", side, "n") for side in ("high", "low")], everybody)
    attack.total([("nomogram", side, "events") for side in ("high", "low")], ("all", "metastases"))
    strata = table(run, "figS4_strata")
    for row in strata.itertuples():
        here = ("figure S4", row.factor, row.level)
        attack.shown(("all", row.factor, row.level), row.n)
        attack.total([("table 1", row.factor, row.level, name) for name in of], ("all", row.factor, row.level))
        attack.total([(*here, side, "n") for side in ("high", "low")], ("all", row.factor, row.level))
        for side in ("high", "low"):
            attack.shown((*here, side, "n"), getattr(row, f"n_{side}"))
            attack.shown((*here, side, "events"), getattr(row, f"events_{side}"))
            attack.at_most((*here, side, "events"), (*here, side, "n"))
    for factor, rows in strata.groupby("factor"):
        for side, what in [(side, what) for side in ("high", "low") for what in ("n", "events")]:
            attack.total(
                [("figure S4", factor, level, side, what) for level in rows["level"]], ("nomogram", side, what)
            )

    counts = table(run, "fig4_counts")
    for row in counts.itertuples():
        here = ("figure 4", row.group)
        attack.shown(("all", row.group), row.of)
        for what, shown in {"n": row.n, "events": row.metastases, "early": row.early}.items():
            attack.shown((*here, row.risk, what), shown)
        attack.at_most((*here, row.risk, "events"), (*here, row.risk, "n"))
        attack.at_most((*here, row.risk, "early"), (*here, row.risk, "events"))
        key = f"fig4.{row.group}"
        attack.shown((*here, row.risk, "n"), number(known_of(entries, f"{key}.{row.risk}_risk")))
        attack.shown((*here, row.risk, "early"), number(known_of(entries, f"{key}.dm_within_3y_of_{row.risk}_risk")))
        attack.shown(("all", row.group), number(known_of(entries, f"{key}.n")))
    for group in counts["group"].unique():
        attack.total([("figure 4", group, side, "n") for side in ("high", "low")], ("all", group))
    for pair in (("pcr", "non_pcr"), ("downstaging", "non_downstaging")):
        attack.total([("all", group) for group in pair], everybody)
        for side, what in [(side, what) for side in ("high", "low") for what in ("n", "events", "early")]:
            attack.total([("figure 4", group, side, what) for group in pair], ("nomogram", side, what))
    attack.total([("nomogram", side, "early") for side in ("high", "low")], ("all", "early"))
    early = [known_of(entries, f"cohort.dm_within_3y.{name}.n") for name in of]
    attack.shown(("all", "early"), "" if None in early else sum(early))
    attack.at_most(("all", "pcr"), ("all", "downstaging"))
    attack.at_most(("all", "pcr"), ("all", "ypt_stage", "ypT0"))

    by_group = table(run, "performance_by_group")
    for row in by_group.itertuples():
        n = ("table 1" if row.factor == "gender" else "by group", row.factor, row.level, row.cohort)
        attack.shown(n, row.n)
        attack.shown(("events", *n), row.events)
        attack.at_most(("events", *n), n)
    for (factor, name), rows in by_group.groupby(["factor", "cohort"]):
        where = "table 1" if factor == "gender" else "by group"
        attack.total([(where, factor, level, name) for level in rows["level"]], of[name])
        attack.total([("events", where, factor, level, name) for level in rows["level"]], (*metastases, name))

    deviations = table(run, "deviations")
    for row in deviations[deviations["topic"] == "pCR"].itertuples():
        attack.shown(("all", "pcr"), row.default_value)
        attack.shown(("all", "ypt_stage", "ypT0"), row.alternative_value)
    at_risk = deviations[deviations["quantity"] == "patients at high risk"]
    attack.shown(("DLRS", "validation", "high"), at_risk["default_value"].iloc[0])
    return attack


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Run the statistics of 100 patients whose small counts are hidden; return the run and what its figures say."""
    own, run, said = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("run"), {}
    whole, given = (pd.read_csv(ROOT / "data_synthetic" / f"{name}.csv") for name in ("clinical", "dl_prob"))
    some = [
        whole[whole["cohort"] == name].sample(n, random_state=4) for name, n in (("primary", 60), ("validation", 40))
    ]
    pd.concat(some).to_csv(own / "clinical.csv", index=False)
    (own / "cohort.yaml").write_text(f"name: Here\nclass: COHORT\nshare: true\nsmall_cell: {SMALLEST}\n")
    intake.stage(run, own)
    said |= run_cells("01_cohort", run, cohort_dir="")
    write_patients(run, pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str}), given)
    for name in ("04_signature", "05_nomogram", "06_evaluation", "06b_deviations", "07_subgroups"):
        said |= run_cells(name, run, **({"n_boot": 20} if name in ("04_signature", "06_evaluation") else {}))
    return run, said


@pytest.mark.slow
def test_no_hidden_count_follows_from_all_tables_and_entries_together(shared):
    run, _ = shared
    attack = attack_on(run)
    hidden = [name for name in attack.low if attack.low[name] != attack.high[name]]
    assert len(hidden) > 100 and attack.solved() == {}
    attack.shown(("table 1", "tumor_location", "Low", "primary"), "13")  # the attack finds what a further count tells
    assert ("table 1", "tumor_location", "High", "primary") in attack.solved()


def rounding(value) -> float:
    """Return by how much a number may differ from the one that it was rounded from."""
    return 0.5 * 10.0 ** -len(str(value).partition(".")[2]) + 1e-12


@pytest.mark.slow
def test_no_fraction_tells_how_many_were_lost(shared):
    """An AUC counts half pairs out of cases times controls, an NRI cases and controls: all digits give the controls."""
    run, _ = shared
    found = [json.loads(path.read_text(encoding="utf-8"))["entries"] for path in (run / "results").glob("*.json")]
    entries = {key: entry for part in found for key, entry in part.items()}
    for name, n in (("primary", 60), ("validation", 40)):
        assert entries[f"cohort.binary_training_set.{name}"]["value"] is None
        cases = entries[f"cohort.dm_within_3y.{name}.n"]["value"]
        shown = {key: entry["value"] for key, entry in entries.items() if key.endswith(f".{name}")}
        assert {v for k, v in shown.items() if k.startswith("table2.nri") and "events." in k} == {None}
        possible = []
        for controls in range(n - cases - SMALLEST + 1, n - cases):
            pairs = np.arange(2 * cases * controls + 1) / (2 * cases * controls)
            moved = np.add.outer(np.arange(-cases, cases + 1) / cases, np.arange(-controls, controls + 1) / controls)
            values = {k: pairs for k in shown if k.startswith("fig1.auc.")}
            values |= {k: moved for k in shown if k.startswith("table2.nri.")}
            errors = {k: np.abs(of - shown[k]).min() - rounding(shown[k]) for k, of in values.items()}
            assert len(errors) == 5
            possible += [controls] if max(errors.values()) <= 0 else []
        assert len(possible) > 1, (name, possible)


@pytest.mark.slow
def test_what_is_computed_from_hidden_counts_is_hidden_and_no_total_tells_how_many_are_missing(shared):
    run, said = shared
    table1 = table(run, "table1")
    hidden = set(table1.loc[~table1["n"].str.fullmatch(r"\d+"), "characteristic"])
    of_it = table1[table1["characteristic"].isin(hidden)]
    assert len(hidden) > 4 and set(of_it["p"]) | set(of_it["smd"]) == {results.NOT_SHOWN}
    correlation = table(run, "figS6_correlation")
    assert set(correlation.loc[correlation["factor"].isin(hidden), "rho"]) == {results.NOT_SHOWN}
    near = {str(total - few) for total in (60, 40, 100) for few in range(1, SMALLEST)}
    for path in (run / "tables").glob("*.csv"):
        frame = table(run, path.stem)
        assert not near & {n.removesuffix(".0") for n in frame.get("n", [])}, path.name
    for path in (run / "results").glob("*.json"):
        for key, entry in json.loads(path.read_text(encoding="utf-8"))["entries"].items():
            assert not near & {str(entry.get("n")), str(entry.get("of"))}, key
    for name, text in said.items():
        assert not near & set(re.findall(r"n = (\d+)", text)), name
    for name, n in (("primary", 60), ("validation", 40)):
        share = pd.to_numeric(table(run, f"decision_curves_{name}")["high_risk"]).dropna()
        above = (share * n).round()
        assert len(share) > 50 and not above.between(1, SMALLEST - 1).any() and not (n - above).between(1, 4).any()


@pytest.mark.slow
def test_no_hidden_count_of_a_random_table_follows_from_its_sums():
    """Levels by two sides, both sums known; where every cell is hidden the totals alone may still tell."""
    draw, partly = np.random.default_rng(0), 0
    for _ in range(60):
        values = draw.choice([0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 30], size=(draw.integers(2, 6), 2))
        frame = pd.DataFrame(values, columns=["high", "low"]).assign(all="")
        sums = dict(within=["all"], parts=["high", "low"])
        told, attack = results.masked(frame, ["high", "low"], smallest=SMALLEST, **sums), Attack()
        for place, shown in np.ndenumerate(told[["high", "low"]].to_numpy()):
            attack.shown(place, shown)
        for axis, totals in ((0, values.sum(axis=0)), (1, values.sum(axis=1))):
            for other, total in enumerate(totals):
                cells = [place for place in np.ndindex(values.shape) if place[1 - axis] == other]
                attack.total(cells, int(total))
        if not told[["high", "low"]].map(lambda cell: isinstance(cell, str)).all(axis=None):
            assert attack.solved() == {}, values.tolist()
            partly += 1
    assert partly > 20


def test_two_small_counts_whose_sum_leaves_one_value_take_a_third_with_them():
    one = pd.DataFrame({"n": [1, 1, 9, 40], "all": ""})
    assert results.masked(one, ["n"], smallest=5, within=["all"])["n"].tolist() == ["<5", "<5", "not shown", 40]
    six = pd.DataFrame({"n": [1, 5, 30], "all": ""})  # 6 is 1 and 5: what is not shown is not small
    assert results.masked(six, ["n"], smallest=5, within=["all"])["n"].tolist() == ["<5", "not shown", "not shown"]
    nothing_left = pd.DataFrame({"n": [4, 4], "all": ""})
    assert results.masked(nothing_left, ["n"], smallest=5, within=["all"])["n"].tolist() == ["not shown"] * 2
