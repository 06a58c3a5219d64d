"""A planned study: its settings are checked, and with the paper's numbers it finds what 09a found."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binom

from dlrs.config import ROOT, InputError
from dlrs.stats import concordance
from dlrs.synthetic import planned, simulate, studies

EXAMPLE = yaml.safe_load((ROOT / "paper" / "plan_example.yaml").read_text(encoding="utf-8"))
SCALE = {"t2w": (-1.8, 0.6), "adc": (-1.6, 0.7)}


def plan(folder, **changes):
    said = {name: value for name, value in (EXAMPLE | changes).items() if value is not None}
    (folder / "plan.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return planned.read(folder / "plan.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(events=171), "events is 171, patients 170: no more events than patients"),
        (dict(anticipated_c=0.45), "anticipated_c is 0.45: a number from 0.5 to 0.995"),
        (dict(events=None, events_per_year=-0.1), "events_per_year is -0.1: a number from 0 to 10"),
        (dict(events=None, events_per_year=0.4), "1.43 events per patient: fewer than one"),
        (dict(patients=170.5), "patients is 170.5: a whole number from 20"),
        (dict(colour="red"), "there is no setting colour"),
        (dict(outcome="ordinal"), "outcome is 'ordinal': one of time-to-event, binary"),
        (dict(anticipated_r2=0.1), "anticipated_c and anticipated_r2: exactly one of them"),
        (dict(anticipated_c=None, anticipated_r2=0.8), "anticipated_r2 is 0.8: between 0 and"),
        (dict(follow_up_months={"development": [36, 67]}), "follow_up_months has no validation"),
        (
            dict(follow_up_months={"development": [6, 12], "validation": [51, 82]}),
            "the longest is 12: at least the hor",
        ),
        (dict(candidate_parameters=200), "200 parameters: fewer than the 170 patients"),
        (dict(risk_at_horizon=None), "risk_at_horizon is missing"),
        (dict(outcome="binary"), "events with a binary outcome"),
        (dict(widths={"auc": 0.1}), "widths is {'auc': 0.1}"),
        (dict(signal=True), "signal is True: a number from 0 to 1"),
    ],
)
def test_an_impossible_plan_stops_with_one_sentence(tmp_path, changes, said):
    with pytest.raises(InputError) as error:
        plan(tmp_path, **changes)
    found, wanted = said.split(": ") if ": " in said and "widths is" not in said else (said, "")
    assert found in str(error.value) and wanted in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_no_settings_at_all(tmp_path):
    for name, text in {"list.yaml": "- 1\n", "broken.yaml": "a: [1\nb: 2\n", "empty.yaml": ""}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            planned.read(tmp_path / name)
    with pytest.raises(InputError, match="the file is missing"):
        planned.read(tmp_path / "none.yaml")


def test_the_thrombosis_example_by_its_settings(tmp_path):
    numbers = dict(events=None, events_per_year=0.065, mean_follow_up_months=24.84, horizon_months=24)
    numbers |= dict(anticipated_c=None, anticipated_r2=0.051, candidate_parameters=30, risk_at_horizon=0.122)
    found = plan(tmp_path, **numbers)
    assert planned.development(found)["n"].tolist()[:2] == [5143, 1039]
    assert planned.development(found)["events_per_parameter"].iloc[0] == pytest.approx(23.07, abs=0.005)
    again = plan(tmp_path, **numbers | dict(anticipated_r2=None, anticipated_c=found.c))
    assert again.r2 == pytest.approx(0.051, abs=1e-6)


def test_the_law_has_the_plans_risk_losses_and_follow_up(tmp_path):
    shorter = {"development": [40, 50], "validation": [60, 61]}
    found = plan(tmp_path, risk_at_horizon=0.4, lost_per_year=0.0, follow_up_months=shorter)
    drawn = simulate.draw_studies(5, 1, n_primary=40_000, n_validation=10, rates=planned.rates(found))
    development = drawn[drawn["cohort"] == "primary"]
    early = development["event"] & (development["time_months"] <= 36)
    assert early.mean() == pytest.approx(0.4, abs=0.01)
    assert development.loc[~development["event"], "time_months"].between(40, 50.1).all()
    default = simulate.draw_studies(5, 2)
    pd.testing.assert_frame_equal(default, simulate.draw_studies(5, 2, rates=simulate.Rates()))


def test_in_a_binary_study_every_state_is_known(tmp_path):
    found = plan(tmp_path, outcome="binary", events=None, mean_follow_up_months=None)
    drawn = simulate.draw_studies(5, 1, n_primary=500, n_validation=100, rates=planned.rates(found))
    assert (drawn["event"] | (drawn["time_months"] > 36)).all()
    sizes = planned.validation(found, seed=1).set_index("measure")["n"]
    assert sizes["O/E"] == 1367  # (0.78 / 0.22) / 0.05094^2
    assert planned.development(found)["criterion"].str.contains("mean absolute error").any()


def test_expected_intervals_are_those_of_simulated_validations(tmp_path):
    found = plan(tmp_path, validation_patients=300)
    c = planned.validation(found, seed=2).set_index("measure").loc["C-index"]
    cohorts = [planned.validation_cohort(found, 300, seed=seed) for seed in range(150)]
    values = [concordance.concordance(j["time"], j["event"], j["lp"]).c for j in cohorts]
    assert np.std(values) * 2 * 1.96 == pytest.approx(c["upper"] - c["lower"], rel=0.2)
    assert np.mean(values) == pytest.approx(c["estimate"], abs=0.01)


def test_optimism_grows_with_candidates(tmp_path):
    few, many = (
        planned.optimism(
            plan(tmp_path, candidate_parameters=p), 20, clinical=["ct_stage", "cea", "ypn_stage"], n_large=500, seed=3
        ).mean()
        for p in (5, 25)
    )
    assert many["apparent"] - many["true"] > few["apparent"] - few["true"] + 0.03
    assert many["slope"] < few["slope"] - 0.1


@pytest.mark.slow
def test_with_the_papers_numbers_it_finds_what_the_null_simulation_found(tmp_path):
    """Rates of 200 studies against those of 2000 in reports/validity, each within the binomial's 99.99 %."""
    design = studies.Design(["ct_stage", "cea", "ypn_stage"], 36.0, threshold=0.2, n_boot=2)

    def analyse(study, generator):
        return studies.findings(study, generator, design=design)

    log_odds = studies.log_odds(pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv"))
    found = studies.replicates(analyse, 200, seed=9, log_odds=log_odds, rates=planned.rates(plan(tmp_path)))
    found = studies.rejections(found).set_index(["finding", "cohort"])
    known = pd.read_csv(ROOT / "reports" / "validity" / "tables" / "validity_null.csv")
    resampled = known["finding"].str.contains("bootstrap")  # would need more resamples than there is time for
    known = known[(known["law"] == "independent") & (known["sides"] > 0) & ~resampled].set_index(["finding", "cohort"])
    assert len(known) > 20
    for test, row in known.iterrows():
        n, hits = found.loc[test, "n"], round(found.loc[test, "any"] * found.loc[test, "n"])
        low, high = binom.ppf([5e-5, 1 - 5e-5], n, [row["any_lower"], row["any_upper"]])
        assert low <= hits <= high, (test, hits, row["any"])
