"""A released model: what it holds is what the run used, nothing is fitted again, and a damaged one is refused."""

import json
import math
import pickle
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from dlrs import cohort, results
from dlrs.config import ROOT, InputError, sha256
from dlrs.stats import cox, survival
from dlrs_site import intake, release
from networks import build_frozen, build_network

HORIZON = 36.0
SIGNATURES = {"DLRS": "dl_prob", "T2W": "t2w_prob", "ADC": "adc_prob"}
CLINICAL = "ct_stage + cea + ypn_stage"
FORMULAS = {**SIGNATURES, "Clinical": CLINICAL, "Nomogram": f"{CLINICAL} + dl_prob"}
HOME = "/home/somebody/resnet18.pth"
ABOUT = {
    "parameters": {"seed": 1, "threads": 1, "batch_size": 16, "weights": HOME},
    "box_shape": [20, 112, 112],
    "network": {"layer": "Identity", "settings": {}},
}
ELSEWHERE = {"parameters": ABOUT["parameters"] | {"weights": Path(HOME).name}}  # as a release has it
COUNTS = {"learnt_from": 8, "held_out": 2, "metastasis": 5}


def write_json(content, path):
    results.save_json(content, path)


@pytest.fixture(scope="module")
def patients():
    everybody = intake.read_cohort(ROOT / "data_synthetic").patients
    return cohort.with_probabilities(everybody, ROOT / "data_synthetic" / "dl_prob.csv")


@pytest.fixture(scope="module")
def predicted(patients):
    return predictions(patients, FORMULAS)


def predictions(patients, formulas):
    """Return predictions of every patient by models fitted as notebooks 04 and 05 do."""

    def of(formula):
        design, _ = cox.design(formula, primary, patients)
        fit = cox.cox_fit(primary["time_months"], primary["event"], design.loc[primary.index])
        return cox.predict(fit, design, primary, horizon=HORIZON)

    primary = patients[patients["cohort"] == "primary"]
    return {name: of(formula) for name, formula in formulas.items()}


@pytest.fixture(scope="module")
def run(patients, predicted, tmp_path_factory):
    return finished(tmp_path_factory.mktemp("run"), patients, predicted)


def finished(folder, patients, predicted, **in_nomogram):
    """Make a run's folder as notebooks 01 to 05 leave it, with weights that stand for trained ones."""
    interim = folder / "interim"
    results.save_csv(patients.drop(columns=["t2w_prob", "adc_prob", "dl_prob"]), interim / "patients.csv")
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", interim)
    for name in release.SEQUENCES:
        prob = patients[["patient_id"]].assign(prob=patients[f"{name.lower()}_prob"])
        results.save_csv(prob, interim / f"prob_{name}.csv")
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "model.safetensors").write_bytes(name.encode() * 100)
        about = ABOUT | COUNTS | {"weights_sha256": sha256(folder / "models" / name / "model.safetensors")}
        write_json(about, folder / "models" / name / "model.json")
    cox = {name: model.saved for name, model in predicted.items()}
    signature = dict(cutoff_dl_prob=0.3717, horizon_months=HORIZON, cox={name: cox[name] for name in SIGNATURES})
    write_json(signature, interim / "signature.json")
    effects = {"dl_prob": {str(x / 5): x / 5 for x in range(11)}}
    seen = {"dl_prob": [patients["dl_prob"].min(), patients["dl_prob"].max()]}
    nomogram = {"class": "SYNTHETIC", "cutoff_risk": 0.2412, "horizon_months": HORIZON, "effects": effects}
    nomogram |= {"seen": seen, "baseline": cox["Nomogram"]["baseline"]} | in_nomogram
    write_json(nomogram | {"cox": {name: cox[name] for name in ("Clinical", "Nomogram")}}, interim / "nomogram.json")
    box = dict(value=112, interpolation="bilinear", zscore="slice", keep_outside_roi=True, nonpositive_adc=0.0)
    record = results.start(folder, "02_preprocessing", inputs=["interim/patients.csv"], provenance="SYNTHETIC")
    record.number("imaging.box.size", **box)
    record.number("imaging.box.slices", 20)
    record.finish()
    entries = {"cohort.n_primary": dict(value=170), "table1.distant_metastasis.levels.Yes.primary": dict(value=42)}
    interval = dict(value=0.7391, ci=[0.64, 0.84], n=65)
    entries |= {f"table2.{name}.Nomogram.validation": interval for name in ("cindex", "auc_36m")}
    inputs = ["interim/patients.csv", "interim/nomogram.json"]
    record = results.start(folder, "06_evaluation", inputs=inputs, provenance="SYNTHETIC")
    for key, entry in entries.items():
        record.number(key, **entry)
    record.finish()
    results.collect(folder)
    return folder


@pytest.fixture
def released(run, tmp_path):
    release.pack(run, tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Change a manifest and give it the hashes that belong to it, as somebody would who means it."""
    manifest = json.loads((folder / "model.json").read_text())
    change(manifest)
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    manifest["sha256"] = release._digest(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


# ---------------------------------------------------------------- what is in it


def test_the_released_numbers_are_bitwise_those_of_the_fits(released, run, predicted):
    model = release.load(released)
    assert list(model["cox"]) == list(release.MODELS)
    for name, fit in predicted.items():
        one, baseline = model["cox"][name], fit.saved["baseline"]
        assert one["coefficients"] == fit.saved["coefficients"] and one["means"] == fit.saved["means"]
        hazard = dict(zip(one["baseline"]["time"], one["baseline"]["cumulative_hazard"], strict=True))
        for month in (0.0, 12.0, 24.0, 36.0):
            assert hazard[month] == survival.step(baseline["time"], baseline["cumulative_hazard"], month, start=0.0)
        assert one["baseline_survival"] == {str(m): math.exp(-hazard[m]) for m in (12, 24, 36)}
    assert model["cutoffs"] == {"dl_prob": 0.3717, "risk_Nomogram": 0.2412}
    assert model["preprocessing"]["box_size"] == 112 and model["preprocessing"]["keep_outside_roi"] is True
    for name in release.SEQUENCES:
        weights = f"{name}/model.safetensors"
        assert (released / weights).read_bytes() == (run / "models" / weights).read_bytes()
        ours, theirs = (json.loads((folder / name / "model.json").read_text()) for folder in (released, run / "models"))
        assert ours == theirs | {"parameters": theirs["parameters"] | {"weights": "resnet18.pth"}}
    there = {str(path.relative_to(released)) for path in released.rglob("*") if path.is_file()}
    assert there == {"model.json", *model["files"]}


def test_risks_are_those_of_the_fitted_models_to_the_last_digit(released, patients, predicted):
    model = release.load(released)
    for name, fit in predicted.items():
        scores = release.linear_predictor(patients, model["cox"][name])
        assert np.array_equal(scores, fit.linear_predictor)
        for month in (12.0, 24.0, 36.0):
            risk = cox.risk_at(scores, pd.DataFrame(model["cox"][name]["baseline"]), month)
            assert np.array_equal(risk, cox.risk_at(scores, pd.DataFrame(fit.saved["baseline"]), month))
        assert np.array_equal(risk, fit.risk)


def test_the_track_fitted_to_out_of_fold_probabilities_is_packed_where_there_is_one(released, run, patients, tmp_path):
    assert release.load(released)["track"] == "as published"
    assert "Track: **as published**" in (released / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "in-sample, so the combination model's weight" in (released / "MODEL_CARD.md").read_text(encoding="utf-8")

    less = patients.assign(
        dl_prob=patients["dl_prob"].where(patients["cohort"] == "validation", 0.9 * patients["dl_prob"])
    )
    second, both = predictions(less, FORMULAS), shutil.copytree(run, tmp_path / "both")
    for name, cutoff in {"signature": "cutoff_dl_prob", "nomogram": "cutoff_risk"}.items():
        file = both / "interim" / f"{name}.json"
        content = json.loads(file.read_text())
        cox = {model: second[model].saved for model in content["cox"]}
        track = (
            content
            | {"cox": cox, cutoff: 0.3}
            | ({"baseline": cox["Nomogram"]["baseline"]} if "seen" in content else {})
        )
        write_json(content | {"out_of_fold": track}, file)
    record = results.start(both, "06_evaluation", inputs=["interim/nomogram.json"], provenance="SYNTHETIC")
    for key, value in {"validation": 0.7391, "validation_oof": 0.7123}.items():
        record.number(f"table2.cindex.Nomogram.{key}", value, ci=[0.64, 0.84], n=65)
    for key, value in {"cohort.n_primary": 170, "table1.distant_metastasis.levels.Yes.primary": 42}.items():
        record.number(key, value)
    record.finish()
    results.collect(both)
    release.pack(both, tmp_path / "model")
    model, card = release.load(tmp_path / "model"), (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert model["track"] == "out-of-fold" and model["cutoffs"] == {"dl_prob": 0.3, "risk_Nomogram": 0.3}
    assert model["cox"]["Nomogram"]["coefficients"] == second["Nomogram"].saved["coefficients"]
    assert [(row["cohort"], row["value"]) for row in model["performance"]] == [("validation", 0.7123)]
    assert "Track: **out-of-fold**" in card and "in-sample, so the combination model's weight" not in card
    assert "out_of_fold" not in json.loads((tmp_path / "model" / "nomogram.json").read_text())
    rewrite(tmp_path / "model", lambda manifest: manifest.update(track="another"))
    with pytest.raises(InputError, match="track is 'another'; expected 'as published' or 'out-of-fold'"):
        release.load(tmp_path / "model")


OWN = {
    "emvi": cohort.Variable("EMVI", "levels", "covariate", ["absent", "present"], "absent"),
    "mrf_mm": cohort.Variable("Distance to MRF", "number", "covariate", unit="mm", range=[0, 50]),
}


def test_variables_of_the_hospital_go_with_the_model_and_are_asked_for_elsewhere(patients, tmp_path):
    rng = np.random.default_rng(5)
    emvi = pd.Categorical(rng.choice(OWN["emvi"].levels, len(patients)), OWN["emvi"].levels)
    patients = patients.assign(emvi=emvi, mrf_mm=rng.uniform(0, 20, len(patients)))
    clinical = f"{CLINICAL} + emvi + mrf_mm"
    formulas = FORMULAS | {"Clinical": clinical, "Nomogram": f"{clinical} + dl_prob"}
    predicted = predictions(patients, formulas)
    about = {name: variable._asdict() for name, variable in OWN.items()}
    run = finished(tmp_path / "run", patients, predicted, variables=about)
    release.pack(run, tmp_path / "model")
    model = release.load(tmp_path / "model")
    assert model["variables"]["emvi"] == {"label": "EMVI", "levels": ["absent", "present"], "reference": "absent"}
    expected = predicted["Nomogram"].linear_predictor
    assert np.array_equal(release.linear_predictor(patients, model["cox"]["Nomogram"]), expected)
    assert "cT stage, CEA, ypN stage, EMVI, Distance to MRF." in (tmp_path / "model" / "MODEL_CARD.md").read_text()

    release.fits(tmp_path / "model", tmp_path, cohort.VARIABLES | OWN)
    other = OWN["emvi"]._replace(levels=["absent", "present", "unclear"])
    for message, variables in {
        "emvi, which this cohort does not have; expected levels absent, present": cohort.VARIABLES,
        "emvi, which has other levels here; expected levels absent, present": cohort.VARIABLES | OWN | {"emvi": other},
    }.items():
        with pytest.raises(InputError, match=message):
            release.fits(tmp_path / "model", tmp_path, variables)
    rewrite(tmp_path / "model", lambda manifest: manifest["variables"].pop("emvi"))
    with pytest.raises(InputError, match="has for emvi coefficients of present; expected a covariate of the clinical"):
        release.load(tmp_path / "model")


def test_no_patient_leaves_with_it(released, patients):
    primary = patients[patients["cohort"] == "primary"]
    theirs = {*patients["patient_id"], *map(repr, primary[list(SIGNATURES.values())].to_numpy().ravel().tolist())}
    for path in released.rglob("*"):
        if path.suffix in (".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not set(re.findall(r"[\w.+-]+", text)) & theirs and "somebody" not in text, path
    nomogram, models = json.loads((released / "nomogram.json").read_text()), release.load(released)["cox"].values()
    assert nomogram["seen"]["dl_prob"][0] <= primary["dl_prob"].min() < primary["dl_prob"].max() <= 2
    for baseline in [nomogram["baseline"], *(model["baseline"] for model in models)]:
        assert baseline["time"] == [
            float(month) for month in range(len(baseline["time"]))
        ]  # not when patients had events


def test_the_card_says_what_it_is(released):
    text = (released / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in ("**SYNTHETIC**", "cannot confirm the paper", "170 patients with 42 metastases", "no medical device"):
        assert words in text
    assert "| C-index | Nomogram | validation | 65 | 0.739 (0.640-0.840) |" in text
    for line in text.split("\n"):
        assert not line.startswith("|") or line.endswith("|"), line


# ---------------------------------------------------------------- the equation


def by_equation(equation, patients, months):
    """Compute the combination model's risks from equation.json, as its `risk` says."""
    model, lp = equation["models"]["Nomogram"], 0.0
    for term in model["terms"]:
        value = patients[term["term"]] if term["level"] is None else (patients[term["term"]] == term["level"])
        lp = lp + term["coefficient"] * (value.astype(float) - term["mean"])
    return 1 - model["baseline_survival"][str(months)] ** np.exp(lp)


def of_model(predicted, months):
    fit = predicted["Nomogram"]
    return cox.risk_at(fit.linear_predictor, pd.DataFrame(fit.saved["baseline"]), months)


@pytest.mark.parametrize("months", [12, 24, 36])
def test_the_equation_as_json_and_as_python_gives_the_models_risks(released, patients, predicted, months):
    equation, schema = (json.loads((released / f"equation{end}.json").read_text()) for end in ("", ".schema"))
    jsonschema.validate(equation, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(equation | {"models": {}}, schema)
    expected = of_model(predicted, months)
    assert by_equation(equation, patients, months).to_numpy() == pytest.approx(expected, abs=1e-9)
    text, named = (released / "risk.py").read_text(), {}
    exec(compile(text, "risk.py", "exec"), named)
    assert len(text.splitlines()) <= 26
    assert named["risk"](patients, months).to_numpy() == pytest.approx(expected, abs=1e-9)
    one = patients[["ct_stage", "cea", "ypn_stage", "dl_prob"]].iloc[3].to_dict()
    assert named["risk"](one, months) == pytest.approx(expected[3], abs=1e-9)
    with pytest.raises(ValueError, match="ct_stage must be one of .*; found 'T4'"):
        named["risk"](one | {"ct_stage": "T4"})
    with pytest.raises(ValueError, match=r"months must be one of \[12, 24, 36\]; found 60"):
        named["risk"](one, 60)


def constants(text, name):
    """Return a named vector of an R function as a dict."""
    (inside,) = re.findall(rf"^  {name} <- c\((.*)\)$", text, flags=re.MULTILINE)
    return {key: float(value) for key, value in re.findall(r'"([^"]+)" = ([-+.\de]+)', inside)}


def test_the_r_function_has_the_models_constants_and_the_form_that_r_ran(released):
    """Without R: every constant is bitwise the model's, and what surrounds them is the template that R has run."""
    text, model = (released / "risk.R").read_text(), release.load(released)["cox"]["Nomogram"]
    assert constants(text, "coefficient") == model["coefficients"] and constants(text, "mean") == model["means"]
    assert constants(text, "survival") == model["baseline_survival"]
    form = (Path(release.__file__).parent / "templates" / "risk_R.txt").read_text().splitlines()
    assert text.splitlines()[7:] == form[7:] and len(form) <= 26
    assert 'ct_stage = c("cT3", "cT4")' in text


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_gives_the_models_risks(released, patients, predicted, tmp_path):
    columns = [
        f"{name} = c({', '.join(json.dumps(str(x)) if name != 'dl_prob' else repr(float(x)) for x in patients[name])})"
        for name in ("ct_stage", "cea", "ypn_stage", "dl_prob")
    ]
    script = tmp_path / "run.R"
    asked = "for (m in c(12, 24, 36)) cat(format(risk(patients, m), digits = 17), sep = '\\n', fill = TRUE)"
    data = f"patients <- data.frame({', '.join(columns)}, stringsAsFactors = TRUE)"
    script.write_text(f"source({json.dumps(str(released / 'risk.R'))})\n{data}\n{asked}\n")
    printed = subprocess.run(["Rscript", "--vanilla", str(script)], capture_output=True, text=True, check=True).stdout
    expected = np.concatenate([of_model(predicted, months) for months in (12, 24, 36)])
    assert np.array(printed.split(), dtype=float) == pytest.approx(expected, abs=1e-9)


def test_a_release_of_format_1_has_no_equation_and_is_read(released):
    def older(manifest):
        manifest["format"] = 1
        for name in release.EQUATION_FILES:
            del manifest["files"][name]

    rewrite(released, older)
    assert release.load(released)["format"] == 1


def test_an_equation_of_another_model_is_refused(released):
    path = released / "equation.json"
    path.write_text(path.read_text().replace('"coefficient": ', '"coefficient": 1', 1))
    rewrite(released, lambda manifest: None)
    with pytest.raises(InputError, match=r"equation\.json has other numbers than the manifest"):
        release.load(released)


# ---------------------------------------------------------------- packing


def test_an_unfinished_run_is_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = copy / "models/ADC/model.safetensors"
    weights.rename(tmp_path / "kept")
    with pytest.raises(InputError, match="not complete, models/ADC/model.safetensors is missing"):
        release.pack(copy, tmp_path / "model")
    (tmp_path / "kept").rename(weights)
    with open(copy / "interim/nomogram.json", "a") as file:
        file.write(" ")
    with pytest.raises(InputError, match="interim/nomogram.json has changed since 06_evaluation"):
        release.pack(copy, tmp_path / "model")
    shutil.copy(run / "interim/nomogram.json", copy / "interim")
    prob = pd.read_csv(copy / "interim/prob_T2W.csv")
    results.save_csv(prob.assign(prob=prob["prob"] * 0.9), copy / "interim/prob_T2W.csv")
    with pytest.raises(InputError, match="its numbers are not those of the network T2W"):
        release.pack(copy, tmp_path / "model")
    shutil.copy(run / "interim/prob_T2W.csv", copy / "interim")
    write_json(dict(cutoff_dl_prob=0.3717, horizon_months=HORIZON), copy / "interim/signature.json")
    with pytest.raises(InputError, match="made by an earlier version"):
        release.pack(copy, tmp_path / "model")
    shutil.copy(run / "interim/signature.json", copy / "interim")
    signature = json.loads((copy / "interim/signature.json").read_text())
    signature["cox"]["DLRS"]["coefficients"] = {"np.exp(dl_prob)": 1.0}
    write_json(signature, copy / "interim/signature.json")
    with pytest.raises(InputError, match=r"DLRS has for np.exp\(dl_prob\) coefficients of the number itself"):
        release.pack(copy, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_only_a_release_is_replaced_and_a_stopped_one_leaves_the_old(run, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert release.main([str(run), str(mine)]) == 1
    assert "holds something else than a release" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]

    assert release.main([str(run), str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    before = release.load(tmp_path / "model")
    assert before["sha256"] in said
    with monkeypatch.context() as patch:
        patch.setattr(release, "load", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            release.pack(run, tmp_path / "model")
    assert release.load(tmp_path / "model") == before
    release.pack(run, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]
    (tmp_path / "model" / "thesis.txt").write_text("put here by mistake")
    with pytest.raises(InputError, match="holds something else than a release"):
        release.pack(run, tmp_path / "model")


# ---------------------------------------------------------------- a damaged release


def other(term, **coefficients):
    def change(manifest):
        model = manifest["cox"]["Clinical"]
        for name in ("coefficients", "means"):
            rest = {key: value for key, value in model[name].items() if not key.startswith(term)}
            model[name] = rest | coefficients

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=3), "the release has format 3; expected 2 at most. Update this repository"),
        (lambda m: m.update(format="x"), "is not the manifest of a release"),
        (
            other("ypn", **{"ypn_stage[T.ypN1]": 0.5}),
            "Clinical has for ypn_stage coefficients of ypN1; expected ypN1, ypN2",
        ),
        (other("cea", **{"cea[T.Normal]": -0.5}), "of Normal; expected Elevated, Normal being the reference"),
        (other("cea", **{"__import__('os').system('x')": 1.0}), "expected a covariate of the clinical table"),
        (other("cea", patient_id=1.0), "expected a covariate of the clinical table"),
        (lambda m: m["cox"]["DLRS"]["means"].clear(), "DLRS has means of"),
        (
            lambda m: m["cox"]["DLRS"]["coefficients"].update(dl_prob=float("nan")),
            "cox.DLRS.coefficients.dl_prob is nan; expected a finite number",
        ),
        (lambda m: m["cox"]["DLRS"]["baseline"]["cumulative_hazard"].reverse(), "baseline does not rise"),
        (lambda m: m["cox"]["DLRS"]["baseline_survival"].update({"36": 0.9}), "is not that of its hazard"),
        (lambda m: m["cox"].pop("ADC"), "models are DLRS, T2W, Clinical, Nomogram; expected DLRS, T2W, ADC"),
        (lambda m: m["cutoffs"].update(risk_Nomogram=0.5), "cut-off is not that of nomogram.json"),
        (lambda m: m["preprocessing"].update(n_slices=10), "boxes have 10 slices, the network T2W reads 20"),
        (lambda m: m["preprocessing"].update(run_dir="elsewhere"), "has preprocessing.run_dir; expected no other"),
        (lambda m: m.pop("cutoffs"), "lacks cutoffs"),
        (lambda m: m.update(format=True), "is not the manifest of a release"),
        (lambda m: m.update(format=0), "format is 0; expected a value greater than or equal to 1"),
        (lambda m: m.update(horizon_months="36"), "horizon_months is '36'; expected a valid number"),
        (lambda m: m.update(horizon_months=1e9), "horizon_months is 1000000000.0; expected a value less than"),
        (lambda m: m.update(horizon_months=500.0), "baseline is that of 0 to"),
        (lambda m: m["cutoffs"].update(dl_prob=2e9), "cutoffs.dl_prob is 2000000000.0; expected a value less than"),
        (lambda m: m["trained_on"].update(patients=-3), "trained_on.patients is -3; expected a value greater than"),
        (lambda m: m["preprocessing"].update(box_size=100_000), "preprocessing.box_size is 100000"),
        (lambda m: m["preprocessing"].update(keep_outside_roi=1), "preprocessing.keep_outside_roi is 1"),
        (lambda m: m["preprocessing"].update(zscore='slice"\nimport os'), "expected 'slice', 'box' or 'roi'"),
        (lambda m: m["versions"].update(torch="<script>1</script>"), "is '<script>1</script>'; expected plain text"),
        (lambda m: m["performance"][0].update(measure='=HYPERLINK("x")'), "performance.0.measure is '=HYPERLINK"),
        (lambda m: m["performance"][0].update(model="<b>"), "expected 'DLRS', 'T2W', 'ADC', 'Clinical' or"),
        (lambda m: m.update({"class": "PUBLISHED"}), "class is 'PUBLISHED'"),
    ],
)
def test_a_release_whose_content_does_not_fit_is_refused(released, change, message):
    rewrite(released, change)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        release.load(released)
    assert "model.json" in str(error.value)


def entry(*place, **changes):
    """Change entries of a JSON file at a place, or take one away."""

    def change(content):
        for part in place:
            content = content[part]
        for name, value in changes.items():
            if value is None:
                del content[name]
            else:
                content[name] = value

    return change


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("T2W/model.json", entry("parameters", batch_size=0), "parameters.batch_size is 0; expected a value greater"),
        ("T2W/model.json", entry("parameters", threads=10**6), "parameters.threads is 1000000; expected a value less"),
        ("ADC/model.json", entry("parameters", weights="../../secret"), "parameters.weights is '../../secret'"),
        ("ADC/model.json", entry(parameters=None), "lacks parameters"),
        ("ADC/model.json", entry("network", layer="os.system"), "network.layer is 'os.system'"),
        ("ADC/model.json", entry("network", settings={"num_features": 10**9}), "network.settings.num_features"),
        ("ADC/model.json", entry("network", weights="/etc/passwd"), "has network.weights"),
        ("ADC/model.json", entry(weights_sha256="0" * 64), "ADC/model.json describes other weights"),
        ("nomogram.json", entry(scales=[{"label": "<img src=x>", "text": []}]), "scales.0.label is '<img src=x>'"),
        ("nomogram.json", entry(junk="A" * 3_000_000), "expected 2000000 at most"),
    ],
)
def test_a_file_that_was_sealed_again_is_refused_in_one_sentence(released, file, change, message):
    content = json.loads((released / file).read_text())
    change(content)
    (released / file).write_text(json.dumps(content))
    rewrite(released, lambda manifest: None)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        release.load(released)
    assert str(error.value).endswith(release.WHOLE) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["T2W/model.safetensors", "MODEL_CARD.md"])
def test_a_link_out_of_the_folder_is_refused(released, tmp_path, name):
    """Although its content is the one of the hash."""
    path, elsewhere = released / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{re.escape(name)}: is a link that leads out of the folder"):
        release.load(released)


@pytest.mark.parametrize("name", release.FILES)
def test_a_changed_or_missing_file_is_refused_by_name(released, name):
    path = released / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"{re.escape(name)}: was changed after the release"):
        release.load(released)
    path.unlink()
    with pytest.raises(InputError, match=f"{re.escape(name)}: the file is missing"):
        release.load(released)


def test_a_changed_or_missing_manifest_is_refused(released):
    path = released / "model.json"
    text = path.read_text()
    path.write_text(text.replace("0.3717", "0.3718"))
    with pytest.raises(InputError, match="model.json: was changed after the release"):
        release.load(released)
    for wrong in (text[:-9], "[1]", "\0"):
        path.write_text(wrong)
        with pytest.raises(InputError, match="model.json: (cannot be read|holds no object)"):
            release.load(released)
    manifest = json.loads(text)
    manifest["files"]["../../somebody/secret"] = "00"
    manifest["sha256"] = release._digest(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="lists other files"):
        release.load(released)
    path.unlink()
    with pytest.raises(InputError, match="model.json: the file is missing"):
        release.load(released)


# ---------------------------------------------------------------- applying


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.fixture(scope="module")
def with_networks(run, tmp_path_factory):
    """The same release with networks that can predict, and a validation run's folder with boxes."""
    import torch

    from dlrs.imaging import resnet

    base = tmp_path_factory.mktemp("networks")
    model, interim = base / "model", base / "out" / "interim"
    release.pack(run, model)
    torch.manual_seed(3)
    for name, network in {"T2W": build_network(), "ADC": build_frozen()}.items():
        resnet.save_model(network, model / name, ABOUT | COUNTS | ELSEWHERE)
    rewrite(model, lambda manifest: None)
    patients = cohort.read_patients(run / "interim" / "patients.csv")
    few = patients[patients["cohort"] == "validation"].head(5)
    results.save_csv(few, interim / "patients.csv")
    rows, draws = [], np.random.default_rng(1)
    for sequence in release.SEQUENCES:
        for patient in few["patient_id"]:
            file = f"boxes/{sequence}/{patient}.npy"
            (interim / file).parent.mkdir(parents=True, exist_ok=True)
            np.save(interim / file, draws.normal(size=(20, 112, 112)).astype(np.float32))
            rows.append(dict(patient_id=patient, sequence=sequence, file=file, sha256=sha256(interim / file)))
    results.save_csv(pd.DataFrame(rows), interim / "boxes.csv")
    return model, base / "out"


def test_nothing_is_fitted_and_the_networks_are_the_released_ones(with_networks, monkeypatch):
    import torch
    from safetensors.numpy import load_file

    from dlrs.imaging import training
    from dlrs_run import stages

    def never(*_, **__):
        raise AssertionError("something was fitted")

    model, out = with_networks
    for owner, name in [(cox, "cox_fit"), (cox, "baseline_hazard"), (training, "fit")]:
        monkeypatch.setattr(owner, name, never)
    monkeypatch.setattr(torch.optim.Optimizer, "__init__", never)
    monkeypatch.setattr(torch.Tensor, "backward", never)
    used = {}
    predict = training.predict
    monkeypatch.setattr(
        training, "predict", lambda net, *a, **o: used.update(net.state_dict()) or predict(net, *a, **o)
    )
    for sequence in release.SEQUENCES:
        used.clear()
        release.probabilities(out, model, sequence, device="cpu")
        weights = load_file(model / sequence / "model.safetensors")
        assert weights.keys() == used.keys()
        assert all(np.array_equal(weights[name], used[name].cpu().numpy()) for name in weights)
    stages.join(out)
    release.apply(out, model)
    released, few = release.load(model), cohort.read_patients(out / "interim" / "patients.csv")
    few = cohort.with_probabilities(few, out / "interim" / "dl_prob.csv")
    predictions = pd.read_csv(out / "interim" / "predictions.csv", float_precision="round_trip")
    for name, one in released["cox"].items():
        assert np.array_equal(predictions[f"lp_{name}"], release.linear_predictor(few, one))
        risk = cox.risk_at(predictions[f"lp_{name}"], pd.DataFrame(one["baseline"]), HORIZON)
        assert np.array_equal(predictions[f"risk_{name}"], risk)
    nomogram = json.loads((out / "interim" / "nomogram.json").read_text())
    assert nomogram == json.loads((model / "nomogram.json").read_text()) | {"cox": released["cox"]}
    again = cox.with_risks(predictions, nomogram["cox"], HORIZON)
    assert np.array_equal(again.filter(like="risk_"), predictions.filter(like="risk_"))


def test_weights_of_another_network_or_a_pickle_are_refused(with_networks, tmp_path):
    from dlrs.imaging import resnet

    model, out = tmp_path / "model", with_networks[1]
    shutil.copytree(with_networks[0], model)
    resnet.save_model(build_network(n_slices=19), model / "T2W", ABOUT | COUNTS | ELSEWHERE)
    described = json.loads((model / "T2W" / "model.json").read_text())
    described["network"] = resnet.architecture(build_network())
    write_json(described, model / "T2W" / "model.json")
    rewrite(model, lambda manifest: None)
    with pytest.raises(InputError, match="model.safetensors: 1 tensors do not fit, first mix.weight"):
        release.probabilities(out, model, "T2W", device="cpu")
    weights = model / "T2W" / "model.safetensors"
    spoilt = build_network()
    spoilt.mix.weight.data[0] = float("nan")
    resnet.save_model(spoilt, model / "T2W", ABOUT | COUNTS | ELSEWHERE)
    rewrite(model, lambda manifest: None)
    with pytest.raises(InputError, match="model.safetensors: the network gives no probability; expected finite weig"):
        release.probabilities(out, model, "T2W", device="cpu")
    weights.write_bytes(pickle.dumps(Evil()))
    write_json(described | {"weights_sha256": sha256(weights)}, model / "T2W" / "model.json")
    rewrite(model, lambda manifest: None)
    with pytest.raises(InputError, match="model.safetensors: cannot be read"):
        release.probabilities(out, model, "T2W", device="cpu")


def test_only_the_validation_patients_of_a_folder_take_part_and_the_others_are_counted(tmp_path):
    study = intake.read_cohort(ROOT / "data_synthetic", only="validation")
    assert len(study.patients) == 65 and set(study.patients["cohort"]) == {"validation"}
    assert study.left_out == [{"cohort": "primary", "reason": "not in the validation cohort", "n": 170}]
    shutil.copy(ROOT / "data_synthetic" / "cohort.yaml", tmp_path)
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    table[table["cohort"] == "primary"].to_csv(tmp_path / "clinical.csv", index=False)
    with pytest.raises(InputError, match="column cohort: nobody is validation; expected patients of the validation"):
        intake.read_cohort(tmp_path, only="validation")
