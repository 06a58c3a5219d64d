"""A finished run's model in one folder, and its use on patients whom it has never seen: nothing is fitted here.

Where the run has out-of-fold probabilities, the Cox models, cut-offs and nomogram that were fitted to them are packed.
A release holds no patient's row. Baseline hazards are read at whole months, since their own steps are patients' times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dlrs import cohort, results
from dlrs.config import InputError, display_path, in_words, resolve, session_information, sha256
from dlrs.stats import cox, survival
from dlrs.templates import template
from dlrs_site.manifest import (
    MAX_BYTES,
    MONTHS,
    RISK,
    SEQUENCES,
    TRACKS,
    Equation,
    Manifest,
    Network,
    Nomogram,
    Unfit,
    check,
)
from dlrs_site.settings import VARIABLE_OPTIONS, OwnVariable

MANIFEST = "model.json"
FORMAT = 2  # of the folder; a release with a higher one was made by a later version
MODELS = ("DLRS", "T2W", "ADC", "Clinical", "Nomogram")
PROBABILITIES = ("t2w_prob", "adc_prob", "dl_prob")
BOX_OPTIONS = ("interpolation", "zscore", "keep_outside_roi", "nonpositive_adc")
NETWORK_FILES = tuple(f"{name}/model.{ending}" for name in SEQUENCES for ending in ("safetensors", "json"))
EQUATION_FILES = ("equation.json", "equation.schema.json", "risk.py", "risk.R")  # not in releases of format 1
FILES = (*NETWORK_FILES, "nomogram.json", "MODEL_CARD.md", *EQUATION_FILES)
PACKAGES = ("torch", "torchvision", "monai", "lifelines", "numpy", "scipy", "pandas", "safetensors", "dlrs")
WHOLE = "Get the whole folder again from whoever released it, or make it with `python3 run.py release`."
FINISH = "Give the folder of a finished run; the command that made it goes on where it stopped."


def _json(path: Path, remedy: str) -> dict:
    """Read a JSON object, or say what is wrong with the file."""
    if not path.is_file():
        raise InputError(display_path(path), "the file is missing", expected="a JSON object", remedy=remedy)
    if path.stat().st_size > MAX_BYTES:
        found, expected = f"has {path.stat().st_size} bytes", f"{MAX_BYTES} at most"
        raise InputError(display_path(path), found, expected=expected, remedy=remedy)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(display_path(path), "cannot be read", expected="a JSON object", remedy=remedy) from error
    if not isinstance(content, dict):
        raise InputError(display_path(path), "holds no object", expected="a JSON object", remedy=remedy)
    return content


def _digest(manifest: Mapping) -> str:
    """Return the hash that a manifest should carry: that of all its other entries."""
    others = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _finished(run: Path) -> dict:
    """Return a finished run's numbers; refuse one with a part missing, or older than what it was made from."""

    def unfinished(found: str) -> InputError:
        return InputError(display_path(run), found, expected="a finished run that trained networks", remedy=FINISH)

    needed = ["results.json", "results/02_preprocessing.json", *(f"models/{name}" for name in NETWORK_FILES)]
    needed += ["interim/dl_prob.csv", *(f"interim/prob_{name}.csv" for name in SEQUENCES)]
    needed += ["interim/signature.json", "interim/nomogram.json"]
    for name in needed:
        if not (run / name).is_file():
            raise unfinished(f"the run is not complete, {name} is missing")
    for path in sorted((run / "results").glob("*.json")):
        for name, digest in _json(path, FINISH)["inputs"].items():
            if not (run / name).is_file() or sha256(run / name) != digest:
                raise unfinished(f"the run is not complete, {name} has changed since {path.stem}")
    joined = pd.read_csv(run / "interim/dl_prob.csv", dtype={"patient_id": str}).set_index("patient_id")
    for name in SEQUENCES:
        prob = pd.read_csv(run / f"interim/prob_{name}.csv", dtype={"patient_id": str}).set_index("patient_id")["prob"]
        if not np.allclose(joined[f"{name.lower()}_prob"], prob.reindex(joined.index), rtol=1e-12, atol=0):
            raise unfinished(f"the run is not complete, its numbers are not those of the network {name}")
    return _json(run / "results.json", FINISH)


def _monthly(baseline: Mapping) -> dict:
    """Read a cumulative hazard at whole months; a risk at a whole month stays the same to the last digit."""
    months = np.arange(math.floor(baseline["time"][-1]) + 1.0)
    hazard = survival.step(baseline["time"], baseline["cumulative_hazard"], months, start=0.0)
    return {"time": months.tolist(), "cumulative_hazard": hazard.tolist()}


def _survival(baseline: Mapping) -> dict:
    """Return the baseline survival at `MONTHS`, by months."""
    at = [baseline["time"].index(month) for month in MONTHS]
    return {str(round(baseline["time"][i])): math.exp(-baseline["cumulative_hazard"][i]) for i in at}


def _without_extremes(nomogram: Mapping) -> dict:
    """Return notebook 05's model as it may leave: whole months, and ranges rounded outwards to a tick's quarter."""
    seen = {}
    for term, (low, high) in nomogram["seen"].items():
        ticks = sorted(map(float, nomogram["effects"][term]))
        fine = (ticks[1] - ticks[0]) / 4
        seen[term] = [math.floor(low / fine) * fine, math.ceil(high / fine) * fine]
    kept = {name: value for name, value in nomogram.items() if name not in ("cox", "out_of_fold")}
    return kept | {"baseline": _monthly(nomogram["baseline"]), "seen": seen}


def _performance(results: Mapping, end: str) -> list[dict]:
    """List the run's C-indices and areas under the ROC curve, with their intervals, in the track whose keys end so."""
    names, cohorts = {"cindex": "C-index", "auc_36m": "AUC at 36 months"}, ("primary", "validation")
    judged, found = {f"{name}{end}": name for name in cohorts}, []
    for key, entry in results.items():
        parts = key.split(".")
        known = len(parts) == 4 and parts[0] == "table2" and parts[1] in names and parts[3] in judged
        if known and None not in (entry["value"], entry["n"]):
            place = dict(measure=names[parts[1]], model=parts[2], cohort=judged[parts[3]])
            found.append(place | {name: entry[name] for name in ("value", "ci", "n")})
    return found


def _card(manifest: Mapping) -> str:
    card = template(Path(__file__).parent / "templates" / "model_card.md", trim_blocks=True)
    terms = dict.fromkeys(column.split("[")[0] for column in manifest["cox"]["Nomogram"]["coefficients"])
    clinical = [cohort.label(term, variables_of(manifest)) for term in terms if term not in PROBABILITIES]
    return card.render(manifest, months=MONTHS, asked=clinical)


def variables_of(manifest: Mapping) -> dict[str, cohort.Variable]:
    """Return the paper's variables, and those that the training hospital's models have of its own or otherwise."""
    declared = {name: OwnVariable(**options).variable(name) for name, options in manifest.get("variables", {}).items()}
    return cohort.VARIABLES | declared


def _equation(manifest: Mapping) -> dict:
    """Return every model's equation: terms, centring and baseline survival, all that a risk at `MONTHS` takes."""
    models, known = {}, cohort.levels(variables_of(manifest))
    for name, model in manifest["cox"].items():
        split = {column: (*column.removesuffix("]").split("[T."), None)[:2] for column in model["coefficients"]}
        terms = [
            dict(term=term, level=level, coefficient=model["coefficients"][column], mean=model["means"][column])
            for column, (term, level) in split.items()
        ]
        levels = {term: list(known[term]) for term, level in split.values() if level}
        models[name] = {"terms": terms, "levels": levels, "baseline_survival": model["baseline_survival"]}
    return {"class": manifest["class"], "risk": RISK, "models": models}


def _functions(manifest: Mapping, equation: Mapping) -> dict[str, str]:
    """Return the combination model as one function of Python and one of R, each of which needs nothing else."""
    model, levels = manifest["cox"]["Nomogram"], equation["models"]["Nomogram"]["levels"]
    numbers = {name: model[f"{name}s"] for name in ("coefficient", "mean")}
    survival = {int(months): value for months, value in model["baseline_survival"].items()}
    horizon = manifest["horizon_months"] if manifest["horizon_months"] in survival else max(survival)
    common = {"class": manifest["class"], "horizon": f"{horizon:g}", "digest": _digest(manifest["cox"])[:12]}

    def in_r(values: Mapping) -> str:
        return "c(" + ", ".join(f"{json.dumps(str(name))} = {value!r}" for name, value in values.items()) + ")"

    of_r = {name: in_r(values) for name, values in (numbers | {"survival": survival}).items()}
    listed = (f"{term} = c({', '.join(map(json.dumps, known))})" for term, known in levels.items())
    of_r["levels"] = f"list({', '.join(listed)})"
    of_python = numbers | {"survival": survival, "levels": levels}
    folder = Path(__file__).parent / "templates"
    return {
        "risk.py": template(folder / "risk_python.txt").render(common | of_python) + "\n",
        "risk.R": template(folder / "risk_R.txt").render(common | of_r) + "\n",
    }


def _manifest(run: Path, results: Mapping) -> tuple[dict, dict]:
    """Gather what the model is from the run's files; return the manifest, without hashes, and the nomogram."""
    signature, nomogram = (_json(run / f"interim/{name}.json", FINISH) for name in ("signature", "nomogram"))
    two = "out_of_fold" in signature and "out_of_fold" in nomogram
    signature, nomogram = (part["out_of_fold"] if two else part for part in (signature, nomogram))
    preprocessing = _json(run / "results/02_preprocessing.json", FINISH)["entries"]
    box = preprocessing["imaging.box.size"]
    declared = {
        term: {name: options[name] for name in VARIABLE_OPTIONS if options.get(name)}
        for term, options in nomogram.get("variables", {}).items()
    }
    if "cox" not in signature or "cox" not in nomogram or "nonpositive_adc" not in box:
        found = "the run was made by an earlier version, which did not keep all that a release needs"
        raise InputError(display_path(run), found, expected="a run of this version", remedy=FINISH)
    cox = {}
    for name, model in {**signature["cox"], **nomogram["cox"]}.items():
        baseline = _monthly(model["baseline"])
        if baseline["time"][-1] < max(MONTHS):
            found = f"the primary cohort was followed for {baseline['time'][-1]:g} months"
            raise InputError(display_path(run), found, expected=f"{max(MONTHS)} or more", remedy="Follow it longer.")
        try:
            _check_levels(name, model["coefficients"], variables_of({"variables": declared}))
        except Unfit as error:
            remedy = "A release holds models of columns and levels; notebook 05 says which formula this one has."
            raise InputError(display_path(run), str(error), expected=error.expected, remedy=remedy) from error
        cox[name] = {**model, "baseline": baseline, "baseline_survival": _survival(baseline)}
    networks = {name: _json(run / f"models/{name}/model.json", FINISH) for name in SEQUENCES}
    counts = ("learnt_from", "held_out", "metastasis")
    n, events = (results[f"{key}primary"]["value"] for key in ("cohort.n_", "table1.distant_metastasis.levels.Yes."))
    versions = session_information(*PACKAGES)
    versions.pop("machine")
    manifest = {"format": FORMAT, "class": nomogram["class"], "track": TRACKS[two]}
    manifest["horizon_months"] = nomogram["horizon_months"]
    manifest["cutoffs"] = {"dl_prob": signature["cutoff_dl_prob"], "risk_Nomogram": nomogram["cutoff_risk"]}
    manifest["preprocessing"] = {"box_size": box["value"], "n_slices": preprocessing["imaging.box.slices"]["value"]}
    manifest["preprocessing"] |= {name: box[name] for name in BOX_OPTIONS}
    manifest["cox"] = {name: cox[name] for name in MODELS}
    manifest |= {"variables": declared} if declared else {}
    manifest["trained_on"] = {"patients": int(n), "metastases": int(events)}
    manifest["trained_on"] |= {
        name: {key: description[key] for key in counts} for name, description in networks.items()
    }
    manifest |= {"performance": _performance(results, cohort.OUT_OF_FOLD * two), "versions": versions}
    return manifest, _without_extremes(nomogram)


def pack(run_dir: str | Path, out: str | Path) -> dict:
    """Write what a finished run's model is into a folder, whole or not at all.

    Parameters
    ----------
    run_dir
        A run whose networks were trained in it and whose results are complete.
    out
        A new or empty folder, or an earlier release, which is replaced.

    Returns
    -------
    dict
        The manifest, as `model.json` holds it.

    Raises
    ------
    InputError
        The run is not finished, or `out` holds something else than a release.
    """
    run, out = resolve(run_dir), resolve(out)
    manifest, nomogram = _manifest(run, _finished(run))
    present = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} if out.is_dir() else set()
    if (present and (MANIFEST not in present or present - {MANIFEST, *FILES})) or (out.exists() and not out.is_dir()):
        found, remedy = "holds something else than a release", "Give a new folder; nothing was written."
        raise InputError(display_path(out), found, expected="a new or empty folder, or a release", remedy=remedy)
    partial, old = (out.with_name(f".{word}-{out.name}") for word in ("partial", "old"))
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        _write(partial, run, manifest, nomogram)
        load(partial)
        if out.exists():
            out.rename(old)
        partial.rename(out)
    finally:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _write(folder: Path, run: Path, manifest: dict, nomogram: dict) -> None:
    """Write a release's files, and complete its manifest with their hashes."""
    for name in SEQUENCES:
        (folder / name).mkdir(parents=True)
        shutil.copyfile(run / f"models/{name}/model.safetensors", folder / name / "model.safetensors")
        description = _json(run / f"models/{name}/model.json", FINISH)
        description["parameters"]["weights"] = Path(
            description["parameters"]["weights"]
        ).name  # no path of the maker's machine
        (folder / name / "model.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
    (folder / "nomogram.json").write_text(json.dumps(nomogram, indent=1), encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(_card(manifest), encoding="utf-8")
    equation = _equation(manifest)
    for name, content in {"equation.json": equation, "equation.schema.json": Equation.model_json_schema()}.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    for name, text in _functions(manifest, equation).items():
        (folder / name).write_text(text, encoding="utf-8")
    manifest["files"] = {name: sha256(folder / name) for name in FILES}
    manifest["sha256"] = _digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def load(folder: str | Path) -> dict:
    """Read a release's manifest and check all of the folder: JSON and safetensors only, no code is run.

    The hashes find damage and mixed-up files; they do not prove who made the
    folder, which the manifest's own hash, told by another way, would.

    Returns
    -------
    dict
        `cutoffs`, `preprocessing`, `horizon_months`, and `cox` by model: coefficients, means and
        baseline. The linear predictor is the sum of coefficient times (covariate - mean).

    Raises
    ------
    InputError
        A file is missing or changed, the format is a later one, or the content is not that of a model.
    """
    folder = resolve(folder)
    path = folder / MANIFEST
    manifest, file = _json(path, WHOLE), display_path(path)
    number = manifest.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or "files" not in manifest:
        raise InputError(file, "is not the manifest of a release", expected="a release's folder", remedy=WHOLE)
    if number > FORMAT:
        remedy = "Update this repository, or ask for a release of this format."
        raise InputError(file, f"the release has format {number}", expected=f"{FORMAT} at most", remedy=remedy)
    if _digest(manifest) != manifest.get("sha256"):
        raise InputError(file, "was changed after the release", expected="the content of its sha256", remedy=WHOLE)
    files = FILES if number != 1 else tuple(name for name in FILES if name not in EQUATION_FILES)
    if not isinstance(manifest["files"], dict) or set(manifest["files"]) != set(files):
        raise InputError(file, "lists other files", expected=", ".join(files), remedy=WHOLE)
    for name, digest in manifest["files"].items():
        _check_file(folder, name, digest)
    parts = {MANIFEST: Manifest, "nomogram.json": Nomogram} | {f"{name}/model.json": Network for name in SEQUENCES}
    parts |= {"equation.json": Equation} if number != 1 else {}
    for name, model in parts.items():
        try:
            check(model, _json(folder / name, WHOLE))
            if name == MANIFEST:
                _check_content(manifest)
        except Unfit as error:
            raise InputError(display_path(folder / name), str(error), expected=error.expected, remedy=WHOLE) from error
    try:
        _check_parts(folder, manifest)
    except Unfit as error:
        raise InputError(file, str(error), expected=error.expected, remedy=WHOLE) from error
    return manifest


def _check_file(folder: Path, name: str, digest: str) -> None:
    """Refuse a file that is missing, no plain file of the folder, or another than the manifest's."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        found, expected = "is a link that leads out of the folder", "a file of the release"
    elif not path.is_file():
        found, expected = "the file is missing", f"the hash in {MANIFEST}"
    elif sha256(path) != digest:
        found, expected = "was changed after the release", f"the hash in {MANIFEST}"
    else:
        return
    raise InputError(display_path(path), found, expected=expected, remedy=WHOLE)


def _check_content(manifest: dict) -> None:
    """Raise what contradicts itself in a manifest whose entries each are in order."""
    if set(manifest["cox"]) != set(MODELS):
        raise Unfit(f"models are {', '.join(manifest['cox'])}", ", ".join(MODELS))
    for name, model in manifest["cox"].items():
        _check_levels(name, model["coefficients"], variables_of(manifest))
        if list(model["means"]) != list(model["coefficients"]):
            raise Unfit(f"{name} has means of {', '.join(model['means'])}", "one for each coefficient")
        time, hazard = (np.array(model["baseline"][key], dtype=float) for key in ("time", "cumulative_hazard"))
        if time.size != hazard.size or (np.diff(time) <= 0).any() or (np.diff(hazard, prepend=0) < 0).any():
            raise Unfit(f"{name}'s baseline does not rise with time", "a cumulative hazard")
        if time[0] != 0 or time[-1] < max(manifest["horizon_months"], *MONTHS) or not set(MONTHS) <= set(time):
            raise Unfit(
                f"{name}'s baseline is that of {time[0]:g} to {time[-1]:g} months", "0 to the horizon and to 36"
            )
        curve = model["baseline_survival"]
        for month, value in _survival(model["baseline"]).items():
            if month not in curve or not math.isclose(curve[month], value):
                raise Unfit(f"{name}'s baseline survival is not that of its hazard", "exp(-cumulative hazard)")


def _check_parts(folder: Path, manifest: dict) -> None:
    """Raise what the other files of a release say differently from its manifest."""
    if _json(folder / "nomogram.json", WHOLE)["cutoff_risk"] != manifest["cutoffs"]["risk_Nomogram"]:
        raise Unfit("the nomogram's cut-off is not that of nomogram.json", "one cut-off")
    if "equation.json" in manifest["files"] and _json(folder / "equation.json", WHOLE) != _equation(manifest):
        raise Unfit("equation.json has other numbers than the manifest", "the same models")
    n_slices = manifest["preprocessing"]["n_slices"]
    for sequence in SEQUENCES:
        description = _json(folder / sequence / "model.json", WHOLE)
        read = description["box_shape"][0]
        if read != n_slices:
            raise Unfit(f"boxes have {n_slices} slices, the network {sequence} reads {read}", "the same number")
        if description["weights_sha256"] != manifest["files"][f"{sequence}/model.safetensors"]:
            raise Unfit(f"{sequence}/model.json describes other weights than the folder holds", "its weights")


def _check_levels(name: str, coefficients: Sequence[str], variables: Mapping[str, cohort.Variable]) -> None:
    """Refuse coefficients that do not code covariates as here: every level but the first, which is the reference."""
    known = cohort.levels(variables)
    numbers = {term for term, v in variables.items() if v.kind == "number" and v.role == "covariate"} | {*PROBABILITIES}
    found: dict[str, list] = {}
    for column in coefficients:
        term, level = re.fullmatch(r"(\w+)(?:\[T\.([^\]]+)\])?|.*", column).groups()
        found.setdefault(term or column, []).append(level)
    for term, levels in found.items():
        coded = known[term][1:] if term in known else [None] if term in numbers else []
        if levels != coded:
            listed = ", ".join(level or "the number itself" for level in levels)
            reference = f", {known[term][0]} being the reference" if term in known else ""
            expected = ", ".join(level or "the number itself" for level in coded) or "a covariate of the clinical table"
            raise Unfit(f"{name} has for {term} coefficients of {listed}", expected + reference)


def fits(folder: str | Path, cohort_dir: str | Path, variables: Mapping[str, cohort.Variable]) -> None:
    """Refuse to apply a release to a cohort that lacks a variable of its models, or has it with other levels.

    Parameters
    ----------
    folder
        The release.
    cohort_dir
        The cohort folder, for the message.
    variables
        Those of the cohort.

    Raises
    ------
    InputError
        Names the variable, and what cohort.yaml has to say.
    """
    manifest = load(folder)
    known = variables_of(manifest)
    columns = [column for model in manifest["cox"].values() for column in model["coefficients"]]
    for term in dict.fromkeys(column.split("[")[0] for column in columns):
        if term in PROBABILITIES:
            continue
        needed, variable = known[term], variables.get(term)
        if variable is None or (variable.kind, [*variable.categories]) != (needed.kind, [*needed.categories]):
            problem = f"the model needs {term}, which " + (
                "has other levels here" if variable else "this cohort does not have"
            )
            levels = f"levels {', '.join(needed.categories)}, the first the reference" if needed.levels else "a number"
            remedy = f"Give the table a column {term}, described below `variables: add:` or mapped by `codes:`."
            raise InputError(display_path(Path(cohort_dir) / "cohort.yaml"), problem, expected=levels, remedy=remedy)


def linear_predictor(patients: pd.DataFrame, model: Mapping) -> np.ndarray:
    """Return a released Cox model's linear predictor, centred as `cox.predict` does, to the tenth decimal.

    Parameters
    ----------
    patients
        The model's covariates, levels spelt as in the manifest's coefficients.
    model
        `coefficients` and `means` of one model of the manifest.

    Returns
    -------
    array of shape (n,)
        Sum of coefficient times (covariate - mean); higher means higher risk. Not a risk.

    Examples
    --------
    >>> model = {"coefficients": {"age": 0.5, "cea[T.Elevated]": 1.0}, "means": {"age": 60.0, "cea[T.Elevated]": 0.25}}
    >>> linear_predictor(pd.DataFrame({"age": [62.0], "cea": ["Elevated"]}), model).tolist()
    [1.75]
    """
    columns = cox.columns_named(model["coefficients"], patients)
    means, coefficients = (np.array(list(model[name].values())) for name in ("means", "coefficients"))
    return ((columns - means) @ coefficients).round(10)


def probabilities(run_dir: str | Path, model_dir: str | Path, sequence: str, device: str = "auto") -> None:
    """Give every included patient the released network's probability, in `interim/prob_<sequence>.csv`.

    Raises
    ------
    InputError
        The release, a box or the weights are not what they should be.
    """
    from dlrs.imaging import resnet, training

    interim, folder = resolve(run_dir) / "interim", resolve(model_dir)
    load(folder)
    network, description = resnet.load_model(folder / sequence)
    parameters = description["parameters"]
    where = resnet.repeatable(parameters["seed"], threads=parameters["threads"], device=device)
    patients = cohort.read_patients(interim / "patients.csv")
    boxes = training.load_boxes(interim / "boxes.csv", sequence, patients["patient_id"])
    prob = training.predict(network, boxes, batch_size=parameters["batch_size"], device=where)
    if not np.isfinite(prob).all():
        problem, remedy = "the network gives no probability", "Get the whole folder again from whoever released it."
        weights = display_path(folder / sequence / "model.safetensors")
        raise InputError(weights, problem, expected="finite weights", remedy=remedy)
    results.save_csv(patients[["patient_id"]].assign(prob=prob), interim / f"prob_{sequence}.csv")


def apply(run_dir: str | Path, model_dir: str | Path) -> None:
    """Write every included patient's linear predictors and risks by the released models, and the models' numbers.

    Raises
    ------
    InputError
        The release or the table of probabilities is not what it should be.
    """
    interim, folder = resolve(run_dir) / "interim", resolve(model_dir)
    released = load(folder)
    patients = cohort.with_probabilities(cohort.read_patients(interim / "patients.csv"), interim / "dl_prob.csv")
    predictions = patients[["patient_id", "cohort"]].copy()
    for name, model in released["cox"].items():
        scores = linear_predictor(patients, model)
        predictions[f"lp_{name}"] = scores
        baseline = pd.DataFrame(model["baseline"])
        predictions[f"risk_{name}"] = cox.risk_at(scores, baseline, released["horizon_months"])
    results.save_csv(predictions, interim / "predictions.csv")
    nomogram = _json(folder / "nomogram.json", WHOLE) | {"cox": released["cox"]}  # risks at other horizons take it
    results.save_json(nomogram, interim / "nomogram.json")


@in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Pack a run from the command line: `python -m dlrs_site.release RUN OUT`; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dlrs_site.release", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("out", help="folder of the release")
    args = parser.parse_args(arguments)
    manifest = pack(args.run, args.out)
    print(f"{display_path(resolve(args.out))}: {manifest['class']}, {len(FILES) + 1} files; {MANIFEST} says what it is")
    print(f"Cox models, cut-offs and nomogram: {manifest['track']}")
    print(f"sha256 {manifest['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
