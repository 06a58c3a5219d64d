"""The nomogram's page: driven in a real browser, held to the Cox model, and searched for what must not be in it."""

from __future__ import annotations

import itertools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from playwright.sync_api import expect

import accessibility
from dlrs import cohort, results
from dlrs.config import ROOT
from dlrs.stats import cox
from dlrs_run import calculator, stages
from dlrs_site import intake
from notebook_cells import run_cells

FORMULA = "ct_stage + cea + ypn_stage + dl_prob"
FACTORS = ["ct_stage", "cea", "ypn_stage"]
HORIZON = 36.0


@pytest.fixture(scope="module")
def run(cohort_read, tmp_path_factory):
    """Make the page of a run of 01, 04 and 05."""
    run = shutil.copytree(cohort_read, tmp_path_factory.mktemp("calculator") / "run")
    run_cells("04_signature", run, n_boot=10)
    run_cells("05_nomogram", run, n_boot=10, n_refit=10)
    stages.nomogram_page(run)
    return run


OWN = {"emvi": {"label": "EMVI", "levels": ["absent", "present"]}, "mrf_mm": {"label": "Distance to MRF", "unit": "mm"}}


def test_a_variable_of_the_hospital_has_its_place_on_the_page(run, browser, tmp_path):
    """Notebook 05 with EMVI and a distance in its formula, of patients without ypN; the page is used in a browser."""
    folder, rng = tmp_path / "own", np.random.default_rng(3)
    shutil.copytree(run / "interim", tmp_path / "interim")
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype=str).drop(columns=["ypn_stage", "row"])
    patients["event"] = patients["event"].map({"True": "1", "False": "0"})
    patients["emvi"] = rng.choice(OWN["emvi"]["levels"], len(patients))
    patients["mrf_mm"] = rng.uniform(0, 20, len(patients)).round(1)
    folder.mkdir()
    patients.to_csv(folder / "clinical.csv", index=False)
    said = {"name": "North", "class": "COHORT", "variables": {"add": OWN, "leave_out": ["ypn_stage"]}}
    (folder / "cohort.yaml").write_text(json.dumps(said))
    intake.stage(tmp_path, folder)
    shutil.copy(tmp_path / "interim" / "clinical.csv", tmp_path / "interim" / "patients.csv")
    formula = "ct_stage + cea + ypn_stage + emvi + mrf_mm"
    run_cells("05_nomogram", tmp_path, clinical_formula=formula, n_boot=10, n_refit=10)
    stages.nomogram_page(tmp_path)
    saved = results.load_json(tmp_path / "interim" / "nomogram.json")
    assert saved["formula"] == "ct_stage + cea + emvi + mrf_mm + dl_prob"
    assert list(saved["variables"]) == ["emvi", "mrf_mm"] and saved["variables"]["emvi"]["label"] == "EMVI"
    tab = browser.new_page()
    tab.goto((tmp_path / "nomogram.html").as_uri())
    choose(tab, "cT4", "Elevated", "present", dl_prob="1")
    tab.get_by_role("textbox", name="Distance to MRF").fill("5")
    found = float(tab.locator("#risk").get_attribute("data-risk"))
    tab.close()
    table = cohort.with_probabilities(
        cohort.read_patients(tmp_path / "interim" / "patients.csv"), tmp_path / "interim" / "dl_prob.csv"
    )
    primary = table[table["cohort"] == "primary"]
    options = dict(formula=saved["formula"], fit_options={"precision": 1e-12})
    fit = CoxPHFitter().fit(primary, "time_months", "event", **options)
    asked = primary.iloc[:1].assign(ct_stage="cT4", cea="Elevated", emvi="present", mrf_mm=5.0, dl_prob=1.0)
    baseline = cox.baseline_hazard(primary["time_months"], primary["event"], fit.predict_log_partial_hazard(primary))
    risk_by_hand = cox.risk_at(fit.predict_log_partial_hazard(asked), baseline, HORIZON)
    assert found == pytest.approx(risk_by_hand.item(), abs=1e-9)


@pytest.fixture(scope="module")
def data(run):
    predictions = pd.read_csv(run / "interim" / "predictions.csv", float_precision="round_trip")
    return calculator.page_data(results.load_json(run / "interim" / "nomogram.json"), predictions)


def test_bins_hold_the_cohorts_smallest_count(run, data):
    saved = results.load_json(run / "interim" / "nomogram.json")
    predictions = pd.read_csv(run / "interim" / "predictions.csv", float_precision="round_trip")
    assert saved["smallest_count"] == 0 and data["smallest_bin"] == calculator.SMALLEST_BIN
    larger = calculator.page_data(saved | {"smallest_count": 12}, predictions)
    assert larger["smallest_bin"] == 12 and "in bins of at least 12 patients" in calculator.as_page(larger)
    assert min(n for those in larger["cohorts"] for *_, n in those["bins"]) >= 12
    assert min(n for those in data["cohorts"] for *_, n in those["bins"]) < 12


@pytest.fixture(scope="module")
def model(run):
    """Fit the model anew, with lifelines alone, and return it with the patients that it was fitted on."""
    patients = cohort.read_patients(run / "interim" / "patients.csv")
    patients = cohort.with_probabilities(patients, run / "interim" / "dl_prob.csv")
    primary = patients[patients["cohort"] == "primary"]
    fit = CoxPHFitter().fit(primary, "time_months", "event", formula=FORMULA, fit_options={"precision": 1e-12})
    return fit, primary


@pytest.fixture
def opened(browser, run):
    """Open the page in a window of its own; afterwards nothing was fetched and nothing went wrong."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    tab, asked, said = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url.split("#")[0]))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.address = (run / "nomogram.html").as_uri()
    tab.goto(tab.address)
    yield tab
    context.close()
    assert said == [] and set(asked) == {tab.address}


def choose(tab, *levels, dl_prob=None):
    for level in levels:
        tab.get_by_role("radio", name=level).check()
    if dl_prob is not None:
        tab.get_by_role("textbox", name="DL-prob").fill(dl_prob)


def risk(tab):
    """Return the risk that the page shows, to all digits; None when it shows none."""
    shown = tab.locator("#risk")
    assert (shown.get_attribute("data-risk") is None) == (shown.inner_text() == "–")
    return None if shown.inner_text() == "–" else float(shown.get_attribute("data-risk"))


# ---------------------------------------------------------------- arithmetic


def test_the_page_equals_the_cox_model_on_a_grid(opened, model, data):
    fit, primary = model
    levels = [cohort.LEVELS[name] for name in FACTORS]
    grid = pd.DataFrame(itertools.product(*levels, np.linspace(0, 2, 41).round(2)), columns=[*FACTORS, "dl_prob"])
    for name, known in zip(FACTORS, levels, strict=True):
        grid[name] = pd.Categorical(grid[name], known)
    lp = fit.predict_log_partial_hazard(grid)
    fitted = fit.predict_log_partial_hazard(primary)
    baseline = cox.baseline_hazard(primary["time_months"], primary["event"], fitted)

    # Every entry through the form's own controls, every risk from what the page shows.
    drive = """rows => rows.map(([ct, cea, ypn, dl]) => {
      for (const level of [ct, cea, ypn]) document.querySelector(`input[value="${level}"]`).click();
      const input = document.getElementById("dl_prob");
      input.value = String(dl);
      input.dispatchEvent(new Event("input"));
      return Number(document.getElementById("risk").dataset.risk);
    })"""
    found = np.array(opened.evaluate(drive, grid.astype(object).to_numpy().tolist()))
    assert len(found) == 492
    assert np.abs(found - cox.risk_at(lp, baseline, HORIZON)).max() < 1e-9

    curves = "rows => rows.map(([ct_stage, cea, ypn_stage, dl_prob]) => predict({ct_stage, cea, ypn_stage, dl_prob}))"
    found = opened.evaluate(curves, grid.astype(object).to_numpy().tolist())
    for i, month in enumerate(data["months"]):
        free = 1 - cox.risk_at(lp, baseline, month)
        assert np.abs(np.array([one["survival"][i] for one in found]) - free).max() < 1e-9


def test_the_interval_of_a_risk_is_the_cox_models(opened, model, data):
    fit, primary = model
    columns = [f"{name}[T.{level}]" for name in FACTORS for level in cohort.LEVELS[name][1:]] + ["dl_prob"]
    patients = primary.sample(40, random_state=1)
    table = pd.get_dummies(primary[FACTORS], prefix_sep="[T.").rename(columns=lambda name: f"{name}]")
    table = table.assign(dl_prob=primary["dl_prob"])[columns].astype(float)
    follow_up = primary["time_months"], primary["event"]
    fitted = cox.cox_fit(*follow_up, table)
    error = cox.hazard_error(*follow_up, table, fitted, horizon=HORIZON)
    baseline = cox.baseline_hazard(*follow_up, fit.predict_log_partial_hazard(primary))
    risk_of = cox.risk_at(fit.predict_log_partial_hazard(patients), baseline, HORIZON)
    away = table.loc[patients.index].to_numpy() - error.center
    spread = np.sqrt(error.variance + np.einsum("ij,jk,ik->i", away, error.covariance, away))
    lower, upper = (1 - (1 - risk_of) ** np.exp(sign * 1.959963984540054 * spread) for sign in (-1, 1))
    entries = patients[[*FACTORS, "dl_prob"]].astype(object).to_dict("records")
    found = np.array(opened.evaluate("rows => rows.map((row) => limits(row, predict(row).risk))", entries))
    np.testing.assert_allclose(found, np.column_stack([lower, upper]), atol=1e-8)
    assert (lower < risk_of).all() and (risk_of < upper).all()
    choose(opened, "cT4", "Elevated", "ypN1", dl_prob="0,5")
    low, high = (float(opened.locator("#interval").get_attribute(f"data-{end}")) for end in ("low", "high"))
    shown = f"95% confidence interval: {100 * low:.1f}% to {100 * high:.1f}%"
    expect(opened.locator("#interval")).to_have_text(shown)
    assert "synthetic patients" in opened.locator("section", has=opened.locator("#risk")).inner_text()


def test_a_model_without_variance_shows_no_interval(browser, data, tmp_path):
    (tmp_path / "page.html").write_text(calculator.as_page({**data, "interval": None}), encoding="utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    choose(tab, "cT4", "Elevated", "ypN1", dl_prob="0.5")
    expect(tab.locator("#interval")).to_have_text("95% confidence interval: not estimable")
    tab.close()


def test_points_are_those_of_the_figure(opened, run, data):
    saved = results.load_json(run / "interim" / "nomogram.json")
    span = max(max(effect.values()) - min(effect.values()) for effect in saved["effects"].values())
    choose(opened, "cT4", "Elevated", "ypN2", dl_prob="0.55")
    wanted = [saved["effects"][name][level] for name, level in zip(FACTORS, ["cT4", "Elevated", "ypN2"], strict=True)]
    wanted = [100 * added / span for added in [*wanted, 0.55 * saved["coefficients"]["dl_prob"]]]
    shown = [float(text) for text in opened.locator("td[data-points]").all_inner_texts()]
    assert shown == [round(points, 1) for points in wanted]
    assert opened.locator("#total").inner_text() == f"{sum(wanted):.1f}"

    # On the picture the mark of cT4 stands where the axis says cT4, and the total's at its share of that axis.
    middle = "node => { const box = node.getBoundingClientRect(); return box.x + box.width / 2; }"
    mark = opened.locator("circle[data-mark=ct_stage]").evaluate(middle)
    assert mark == pytest.approx(opened.locator("#axes text", has_text="cT4").evaluate(middle), abs=1.5)
    ends = [
        opened.locator("#axes text", has_text=re.compile(f"^{end}$")).last.evaluate(middle)
        for end in (0, round(data["total_points_end"]))
    ]
    total = opened.locator("circle[data-mark='Total points']").evaluate(middle)
    assert total == pytest.approx(ends[0] + (ends[1] - ends[0]) * sum(wanted) / data["total_points_end"], abs=2)


# ---------------------------------------------------------------- by hand


def test_choosing_and_typing_give_a_result_once_all_is_entered(opened, data):
    assert risk(opened) is None
    choose(opened, "cT4", "Elevated", "ypN1")
    assert risk(opened) is None and opened.locator("#group").inner_text() == "Still to be entered: DL-prob."
    choose(opened, dl_prob="0.7")
    high = risk(opened)
    assert high > data["cutoff_risk"] and "High risk: above the cut-off" in opened.locator("#group").inner_text()
    assert re.search(r"primary cohort \(n = 170\), .* have a lower risk", opened.locator("#standing").inner_text())
    assert "36\t" in opened.locator("#years").inner_text().replace("\n", "\t")
    choose(opened, "cT3", "Normal", "ypN0", dl_prob="0.3")
    assert risk(opened) < data["cutoff_risk"] and "Low risk" in opened.locator("#group").inner_text()

    slider = opened.get_by_role("slider", name="DL-prob, slider")
    slider.fill("0.42")
    assert opened.get_by_role("textbox", name="DL-prob").input_value() == "0.42"
    expect(opened.locator("[aria-live=polite]")).to_have_text(re.compile("^Risk within 36 months .* points. "))
    opened.get_by_role("button", name="Clear").click()
    assert risk(opened) is None and opened.get_by_role("radio", checked=True).count() == 0


@pytest.mark.parametrize("typed", ["2.01", "-0.1", "1e9", "abc", "0x1", "NaN", "Infinity", "1.2.3", "0,5,1", "-"])
def test_what_is_no_number_on_the_axis_is_refused(opened, typed):
    choose(opened, "cT4", "Elevated", "ypN1", dl_prob="0.5")
    assert risk(opened) is not None
    choose(opened, dl_prob=typed)
    assert risk(opened) is None and opened.locator("#total").inner_text() == "–"
    message = opened.get_by_role("alert").filter(has_text="DL-prob").inner_text()
    assert "DL-prob must be a number from 0 to 2; found" in message and typed in message
    assert opened.get_by_role("textbox", name="DL-prob").get_attribute("aria-invalid") == "true"
    assert opened.locator("#survival .curve").count() == 0
    assert opened.locator("circle[data-mark='Total points']").is_hidden()
    opened.wait_for_timeout(250)
    assert "dl_prob" not in opened.url  # the address holds what was computed from
    choose(opened, dl_prob="0.5")
    assert risk(opened) is not None and opened.get_by_role("alert").all_inner_texts() == ["", ""]


def test_a_decimal_comma_is_understood_and_the_slider_covers_what_was_observed(opened):
    choose(opened, "cT4", "Elevated", "ypN1", dl_prob="0.5")
    with_point = risk(opened)
    choose(opened, dl_prob="0,5")
    assert risk(opened) == with_point
    slider = opened.get_by_role("slider", name="DL-prob, slider")
    low, high = opened.evaluate("model.variables.at(-1).seen")
    ends = [float(slider.get_attribute(name)) for name in ("min", "max")]
    assert ends[0] <= low < ends[0] + 0.01 and ends[1] - 0.01 < high <= ends[1] < 2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_serious_fault_of_access(browser, run, scheme):
    assert accessibility.serious(browser, run / "nomogram.html", scheme=scheme) == []


def test_where_no_patient_was_is_said(opened, model):
    low, high = opened.evaluate("model.variables.at(-1).seen")
    _, primary = model
    assert low <= primary["dl_prob"].min() and primary["dl_prob"].max() <= high < 2
    choose(opened, "cT3", "Normal", "ypN0", dl_prob=str(high))
    assert "Extrapolated" not in opened.locator("#notes").inner_text()
    choose(opened, dl_prob=str(high + 0.1))
    assert risk(opened) is not None and "Extrapolated" in opened.locator("#notes").inner_text()


def test_by_keyboard_alone(opened):
    def focus_is_seen():
        style = opened.evaluate("getComputedStyle(document.activeElement).outline")
        return "solid" in style and "3px" in style

    for keys in (["ArrowDown"], ["Space"], ["ArrowDown", "ArrowDown"]):
        opened.keyboard.press("Tab")
        for key in keys:
            opened.keyboard.press(key)
        assert focus_is_seen()
    opened.keyboard.press("Tab")
    opened.keyboard.type("0.5")
    assert focus_is_seen() and risk(opened) is not None
    assert opened.locator("td[data-value]").all_inner_texts() == ["cT4", "Normal", "ypN2", "0.5"]
    opened.keyboard.press("Tab")
    opened.keyboard.press("ArrowRight")
    assert focus_is_seen() and opened.get_by_role("textbox", name="DL-prob").input_value() == "0.51"
    opened.keyboard.press("Tab")
    assert focus_is_seen()
    opened.keyboard.press("Enter")
    assert risk(opened) is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_shows_all_of_it_and_always_the_warning(opened, scheme):
    opened.set_viewport_size({"width": 320, "height": 640})
    opened.emulate_media(color_scheme=scheme)
    choose(opened, "cT4", "Elevated", "ypN1", dl_prob="0.5")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 320
    opened.get_by_text("How it is computed").scroll_into_view_if_needed()
    warning = opened.locator("#warning")
    assert warning.bounding_box()["y"] == 0
    assert re.match("research use only. Trained on synthetic patients", warning.inner_text(), re.IGNORECASE)
    for picture in ("axes", "survival", "cohort"):
        assert "RESEARCH USE ONLY · SYNTHETIC" in opened.locator(f"#{picture}").inner_text()
    opened.emulate_media(media="print")
    assert warning.is_visible() and opened.get_by_role("button", name="Clear").is_hidden()


def test_the_address_holds_the_entries(opened, browser):
    choose(opened, "cT4", "Elevated", "ypN1", dl_prob="0.537")
    opened.wait_for_url(opened.address + "#ct_stage=cT4&cea=Elevated&ypn_stage=ypN1&dl_prob=0.537")
    again = browser.new_page()
    again.goto(opened.url)
    assert risk(again) == risk(opened)
    again.evaluate("location.hash = '#ct_stage=cT3&cea=Elevated&ypn_stage=ypN1&dl_prob=0.537'")
    expect(again.locator("td[data-value=ct_stage]")).to_have_text("cT3")
    assert risk(again) < risk(opened)
    again.close()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("ct_stage=cT5", "cT stage must be one of cT3, cT4; found “cT5”"),
        ("ct_stage=cT3&ct_stage=cT4", "gives ct_stage twice"),
        ("ct_stage=cT4&dl_prob=3", "DL-prob must be a number from 0 to 2; found 3"),
        ("ct_stage=cT4&age=60", "names “age”, which this nomogram does not have"),
        ("ct_stage=<img src=x onerror=alert(1)>", "found “<img src=x onerror=alert(1)>”"),
        ("ct_stage=%E0%A4%A", "cT stage must be one of"),
    ],
)
def test_an_address_that_is_wrong_says_so(opened, asked, message):
    good = "cea=Elevated&ypn_stage=ypN1" + ("" if "dl_prob" in asked else "&dl_prob=0.5")
    opened.evaluate("hash => { location.hash = hash; }", f"#{asked}&{good}")
    opened.get_by_role("alert").filter(has_text=message).wait_for()
    assert (risk(opened) is None) == ("&age=" not in asked)  # a name too many takes nothing away


# ---------------------------------------------------------------- what the page holds


def test_no_patients_values_are_in_the_page(run, data):
    predictions = pd.read_csv(run / "interim" / "predictions.csv", float_precision="round_trip")
    probabilities = pd.read_csv(run / "interim" / "dl_prob.csv", float_precision="round_trip")
    private = {*predictions.select_dtypes("number").to_numpy().ravel(), *probabilities["dl_prob"]} - {0.0, 0.5}
    text = (run / "nomogram.html").read_text(encoding="utf-8")
    embedded = re.search(r'<script type="application/json" id="model">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(embedded) == json.loads(json.dumps(data))
    numbers = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", embedded)}
    assert len(private) > 500 and not numbers & private
    assert not re.search(r"\bP\d{3}\b", text) and all(month == int(month) for month in data["months"])
    for those in data["cohorts"]:
        counts = [count for _, _, count in those["bins"]]
        assert sum(counts) == those["n"] and min(counts) >= calculator.SMALLEST_BIN
    assert len(text) < 3e6 and not re.search(r"(src|href)=\"(?!data:)", text)


def test_bins_join_until_each_holds_enough():
    # quarters of [0, 1] hold 2, 1, 0 and 1: the second joins what follows, and what is left over joins it
    assert calculator.risk_bins([0.1, 0.2, 0.3, 0.9], width=0.25, at_least=2) == [[0.0, 0.25, 2], [0.25, 1.0, 2]]
    assert calculator.risk_bins([0.1, 0.2, 0.6], width=0.25, at_least=2) == [[0.0, 0.75, 3]]
    assert calculator.risk_bins([0.1, 0.2], width=0.25, at_least=2) == [[0.0, 0.25, 2]]
    assert calculator.risk_bins([0.0, 1.0], at_least=3) == []


def test_a_hospitals_page_says_whose_patients_they_are_and_escapes_their_names(data):
    level = '</script><script>alert("x")</script>'
    variables = [{**data["variables"][0], "levels": [["cT3", 0.0], [level, 1.0]]}, *data["variables"][1:]]
    text = calculator.as_page({**data, "class": "COHORT", "variables": variables})
    assert "Research use only.</strong> Trained on this site&#39;s own patients, not the paper&#39;s" in text
    assert "synthetic" not in text.lower() and level not in text and text.count("</script>") == 2
    with pytest.raises(KeyError):
        calculator.as_page({**data, "class": "PUBLISHED"})


def test_the_committed_page_is_todays_template():
    text = (ROOT / "reports" / "nomogram.html").read_text(encoding="utf-8")
    embedded = re.search(r'<script type="application/json" id="model">(.*?)</script>', text, re.DOTALL)[1]
    remedy = "make it anew with `python3 run.py reproduce`"
    assert calculator.as_page(json.loads(embedded)) == text, remedy
