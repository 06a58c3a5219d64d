"""Published numbers and those of a run: which entries belong together, whether they agree, and the answer in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from dlrs.cohort import VARIABLES, label
from dlrs.results import NOT_HERE, format_estimate, format_number, format_p, horizon_key, key_word, p_text

# An entry with one of these among the parts of its key is an estimate, and an estimate needs an interval.
ESTIMATES = re.compile(r"cindex|t?d?auc(_\d+m)?|nri|idi|hr")
COUNTED = ("cohort", "table1", "audit")  # counts, shares of them, and checks of printed numbers
KINDS = ("counts", "P values", "estimates")


def kind_of(key: str) -> str:
    """Return what an entry is: one of `KINDS`.

    P values are those of models and curves. Those of Table 1 follow from its counts and are called counts with them,
    as are sizes and shares.
    """
    parts = key.split(".")
    if parts[0] not in COUNTED and (parts[-1] == "p" or "logrank_p" in parts):
        return "P values"
    is_estimate = any(map(ESTIMATES.fullmatch, parts)) or parts[-1].startswith("cutoff")
    return "estimates" if is_estimate and parts[0] not in COUNTED else "counts"


def of_this_run(results: Mapping[str, Mapping], key: str) -> tuple[str, Mapping | None]:
    """Return this run's entry, and its key, that is of the same kind as the paper's entry `key`; None without one.

    For the paper's "paired Student t test" of C-indices that is survcomp's one-sided P, not the jackknife's.
    """
    one_sided = f"{key.removesuffix('.p')}.p_survcomp_one_sided"
    return (one_sided, results[one_sided]) if one_sided in results else (key, results.get(key))


def published_entries(tree: Mapping, path: str = "", where: str = "") -> Iterator[tuple[str, dict]]:
    """Yield every entry of paper_results.yaml under its dotted key, spelt as in `results.json`.

    A mapping with a `value` is one entry with its `ci` and `p`; an `hr` takes the `ci` beside it; two values under
    `levels` are `.primary` and `.validation`; two under a name that starts with `dm_within` are value and `n`; another
    list, or words, become text. `where` is the table, figure or section it is printed in.
    """
    where = tree.get("where", where)
    for name, value in tree.items():
        full_path = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and "value" in value:
            yield full_path, {**value, "where": where}
        elif isinstance(value, Mapping):
            yield from published_entries(value, full_path, where)
        elif path.endswith(".levels"):
            for cohort, count in zip(("primary", "validation"), value, strict=True):
                yield f"{full_path}.{cohort}", {"value": count, "where": where}
        elif isinstance(value, list) and name.startswith("dm_within"):
            yield full_path, {"value": value[0], "n": value[1], "where": where}
        elif isinstance(value, list) and name != "ci":
            for place, part in enumerate(value if path == "" else [_words(value)]):
                yield f"{full_path}.{place}" if path == "" else full_path, {"value": part, "where": where}
        elif name not in ("ci", "where"):
            yield full_path, {"value": value, "where": where} | ({"ci": tree["ci"]} if name == "hr" else {})


def _words(parts: list) -> str:
    """Return a list as text, variables by their labels."""
    return ", ".join(label(part) if part in VARIABLES else str(part) for part in parts)


def as_printed(value, least: int = 0) -> tuple[str, float]:
    """Return a published value as it is printed, with at least so many decimals, and half a unit of its last digit."""
    if isinstance(value, (str, int)):
        return str(value), 0.0
    decimals = max(least, len(str(value).partition(".")[2]))
    return f"{value:.{decimals}f}", 0.5 * 10.0**-decimals


def agrees(published, rerun: float, least: int = 0) -> bool:
    """Return whether a rerun number would be printed as the published one; `"<0.001"` is met by what lies below it."""
    if isinstance(published, str):
        return rerun < float(published.removeprefix("<"))
    return abs(rerun - published) <= as_printed(published, least)[1] + 1e-9


def incomplete_entries(results: Mapping[str, Mapping], notebooks: Iterable[str], classes: Iterable[str]) -> list[str]:
    """Return what is wrong with entries of `results.json`; an entry that is merely absent is not wrong.

    Every entry needs a known class and a source: a notebook that exists (03_train_T2W is a run of
    03_train_sequence). An interval is needed by estimates: entries with a value one part of whose key is `cindex`,
    `auc`, `tdauc_36m` or the like, `nri`, `idi` or `hr`. Counts, shares of counts, P values, parts of an NRI or IDI,
    settings and the audit's checks of printed numbers do not need one. Two limits that are None are an interval that
    could not be estimated.
    """
    notebooks, classes = set(notebooks), set(classes)
    wrong = []
    for key, entry in results.items():
        parts = key.split(".")
        if entry.get("class") not in classes:
            wrong.append(f"{key}: no known class, found {entry.get('class')!r}")
        if source_of(entry.get("notebook", "")) not in notebooks:
            wrong.append(f"{key}: no source, found {entry.get('notebook')!r}")
        estimate = parts[0] not in COUNTED and parts[-1] != "p" and any(map(ESTIMATES.fullmatch, parts))
        ci = entry.get("ci") or [None]
        if estimate and entry.get("value") is not None and None in ci and ci != [None, None]:
            wrong.append(f"{key}: an estimate without an interval")
    return wrong


def source_of(stage: str) -> str:
    """Return the notebook that a stage runs: 03_train_T2W is one of the runs of 03_train_sequence."""
    return re.sub(r"^03_train_.*", "03_train_sequence", stage)


def _longest(texts: Mapping[str, str], key: str) -> str:
    """Return the text of the longest key of `texts` that `key` starts with."""
    return texts[max((start for start in texts if key.startswith(start)), key=len)]


def published_text(printed: Mapping) -> str:
    """Return a published entry as text: `0.865 (0.814 to 0.916), P < 0.001`."""
    least = 3 if "ci" in printed else 0
    text = as_printed(printed["value"], least)[0]
    if "ci" in printed:
        text += " ({} to {})".format(*(as_printed(limit, least)[0] for limit in printed["ci"]))
    text += f", {p_text(str(printed['p']))}" if "p" in printed else ""
    return f"{text} of {printed['n']}" if "n" in printed else text


def rerun_text(key: str, printed: Mapping, entry: Mapping, digits: int) -> str:
    """Return a run's entry as text, with as many decimals as the published one."""
    value, ci = entry["value"], entry.get("ci")
    if value is None:
        return entry["reason"]
    if ci and None not in ci:
        text = format_estimate(value, *ci, digits=digits)
    elif key.split(".")[-1] == "p" or ".logrank_p." in key:
        text = format_p(value, max(digits, 3))
    else:
        text = f"{value:.{digits}f}"
    text += f", {p_text(entry['p'])}" if ci and entry.get("p") is not None else ""
    return text + (f" of {entry['n']}" if "n" in printed and "n" in entry else "")


def beside(results: Mapping[str, Mapping], paper: Mapping, texts: Mapping, *, released: bool = False) -> pd.DataFrame:
    """Set every published entry beside this run's.

    Parameters
    ----------
    results
        Key to entry, as `results.gather` returns them.
    paper
        As `config.published` returns it.
    texts
        `paper/report.yaml`: `reasons` for a difference by class, `not_rerun`, and `set_by_cohort`.
    released
        Whether a released model was applied and nothing fitted.

    Returns
    -------
    DataFrame
        key, where, published, rerun (text), class, n, kind (one of `KINDS`),
        set_by_cohort (True where the number follows from how the cohort was
        made or recruited, which is no agreement), same (True, False, or None
        where there is no single number), why, source (the run's key) and
        stages (notebooks that made it).
    """
    reasons = dict(texts["reasons"]["any"]) | (texts["reasons"]["released"] if released else {})
    reasons |= texts["reasons"].get(class_of(results), {})
    rows = [_beside_one(results, key, printed, reasons, texts) for key, printed in published_entries(paper)]
    return pd.DataFrame(rows).astype({"same": object})


def _beside_one(results, key: str, printed: Mapping, reasons: Mapping, texts: Mapping) -> dict:
    source, entry = of_this_run(results, key)
    parts = sorted(name for name in results if name.startswith(key + "."))
    row = dict(key=key, where=printed["where"], published=published_text(printed), rerun="", n="", same=None, why="")
    row |= {"class": "", "kind": kind_of(key), "source": source, "stages": []}
    row["set_by_cohort"] = any(re.match(pattern, key) for pattern in texts["set_by_cohort"])
    if entry is not None:
        exact = "ci" in printed or key.endswith(".p")
        digits = len(as_printed(printed["value"], 3 if exact else 0)[0].removeprefix("<").partition(".")[2])
        row["same"] = entry["value"] is not None and agrees(printed["value"], entry["value"], digits)
        row["rerun"] = rerun_text(key, printed, entry, digits)
        row["rerun"] += " (survcomp, one-sided)" if source != key and entry["value"] is not None else ""
        row["why"] = "the same" if row["same"] else _longest(reasons, key)
        if entry.get("reason") == NOT_HERE:
            row |= dict(same=None, why=NOT_HERE)
        row |= {"class": entry["class"], "stages": [entry["notebook"]]}
        row["n"] = "" if entry.get("n") is None else entry["n"]
    elif parts:
        row |= {"rerun": f"{len(parts)} numbers", "class": results[parts[0]]["class"]}
        row |= dict(why=_longest(texts["not_rerun"], key), stages=sorted({results[p]["notebook"] for p in parts}))
    else:
        row["why"] = _why_absent(results, key, texts["not_rerun"])
    audited = results.get(f"audit.{key}")
    if audited and key.startswith("open_questions"):
        row |= {"rerun": audited["method"], "class": "PUBLISHED", "stages": [audited["notebook"]]}
    return row


def _why_absent(results, key: str, not_rerun: Mapping) -> str:
    """Say why a run has no number for a published entry."""
    if any(key.startswith(start) for start in not_rerun):
        return _longest(not_rerun, key)
    present = {entry.get("cohort") for entry in results.values()} & {"primary", "validation"}
    absent = {"primary", "validation"} - present if present else set()
    in_validation = {"validation"} if key.startswith("cindex_comparison.") else set()
    horizon = results.get("fig1.horizon_months", {}).get("value") or 36
    if key.replace("3y", horizon_key(horizon)) in results:
        return "counted at another horizon in this run"
    if absent & {*key.split("."), *in_validation}:
        return f"this run has a {min(present)} cohort only"
    return "missing in this run: see above"


def class_of(results: Mapping[str, Mapping]) -> str:
    """Return the class of a run's patients, PUBLISHED where no result is a patient's."""
    classes = {entry["class"] for entry in results.values()} - {"PUBLISHED"}
    return classes.pop() if len(classes) == 1 else "PUBLISHED"


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the single numbers of `beside` that would be printed the same.

    Returns
    -------
    DataFrame
        Indexed by kind of entry, with `same` and `of`. Numbers set by how the
        cohort was made or recruited are a row of their own, "set by the cohort".
    """
    rerun = rows[rows["same"].notna()]
    kind = rerun["kind"].mask(rerun["set_by_cohort"], "set by the cohort")
    counted = rerun["same"].astype(int).groupby(kind).agg(["sum", "size"])
    return counted.set_axis(["same", "of"], axis=1).reindex([*KINDS, "set by the cohort"], fill_value=0)


TOLERANCES = (0.01, 0.05, 0.1, 0.2)  # relative differences


def by_tolerance(rows: pd.DataFrame, results: Mapping[str, Mapping], paper: Mapping) -> pd.DataFrame:
    """Count the numbers of an analysis that agree with the published ones, from as printed to overlapping intervals.

    Parameters
    ----------
    rows
        Of `beside`; numbers set by how the cohort was made are left out.
    results, paper
        As in `beside`.

    Returns
    -------
    DataFrame
        Indexed by what counts as agreement, a column each of `KINDS` with `same of n`. A relative difference is one of
        the published value and is not asked of P values; an interval only of numbers published with one.
    """
    printed = dict(published_entries(paper))
    counts: dict[str, dict[str, list[bool]]] = {}
    for row in rows[rows["same"].notna() & ~rows["set_by_cohort"]].itertuples():
        theirs, ours = printed[row.key], results[row.source]
        found = {"as printed": bool(row.same)}
        value = float("nan") if ours["value"] is None else ours["value"]  # what is not estimable agrees with nothing
        if row.kind == "P values":
            low = float(str(theirs["value"]).removeprefix("<")) < 0.05
            found["on the same side of 0.05"] = value < 0.05 if low else value >= 0.05
        else:
            off, size = abs(value - theirs["value"]), abs(theirs["value"])
            found |= {f"relative difference at most {100 * t:g}%": off <= t * size for t in TOLERANCES}
        if "ci" in theirs and None not in (ours.get("ci") or [None]):
            (low, high), (lower, upper) = theirs["ci"], ours["ci"]
            found["within the published interval"] = low <= ours["value"] <= high
            found["intervals overlap"] = lower <= high and low <= upper
        for rule, same in found.items():
            counts.setdefault(rule, {kind: [] for kind in KINDS})[row.kind].append(same)
    table = {r: {k: f"{sum(x)} of {len(x)}" if x else "" for k, x in of.items()} for r, of in counts.items()}
    return pd.DataFrame.from_dict(table, orient="index", columns=list(KINDS))


# ---------------------------------------------------------------- the answer


def _c_index(entries: Mapping[str, Mapping], model: str) -> str:
    entry = entries.get(f"table2.cindex.{model}.validation", {"value": None})
    return format_estimate(entry["value"], *(entry.get("ci") or (None, None)))


def answer(
    results: Mapping[str, Mapping], paper: Mapping, *, validity: Mapping[str, Mapping], null: pd.DataFrame | None
) -> list[str]:
    """Say in a few sentences what a run found: discrimination, calibration, the null simulation, and its limits.

    Parameters
    ----------
    results, paper
        As in `beside`.
    validity
        Results of the null simulation and the other controls; empty where they were not run.
    null
        `validity_answer`: `conclusion`, `cohort`, and for each data-generating model its share of simulated studies
        that reach the conclusion, with columns ending in `_lower` and `_upper`; None where it was not run.
    """
    sentences = [_discrimination(results, dict(published_entries(paper)), validity)]
    sentences += [optimism(results), _calibration(results), _null(null), LIMITS[class_of(results)]]
    return [sentence for sentence in sentences if sentence]


def _discrimination(results, printed, validity) -> str:
    judged = results.get("table2.cindex.Nomogram.validation")
    if judged is None:
        return "Discrimination in the validation cohort was not estimated in this run."
    models = {"Nomogram": "the nomogram", "Clinical": "the clinical model", "DLRS": "the signature"}
    texts = [f"{_c_index(results, model)} for {name}" for model, name in models.items()]
    theirs = [format_number(printed[f"table2.cindex.{model}.validation"]["value"]) for model in models]
    text = f"In the validation cohort (n = {judged['n']}) Harrell's C was {texts[0]}, {texts[1]} and {texts[2]}; "
    text += f"published were {theirs[0]}, {theirs[1]} and {theirs[2]}."
    seeds = validity.get("validity.seeds.table2_cindex_nomogram_validation")
    if seeds and class_of(results) == "SYNTHETIC":
        low, high = (format_number(limit) for limit in seeds["ci"])
        text += f" In the last run of the controls the nomogram's C ranged from {low} to {high}"
        text += f" over {seeds['n']} training seeds."
    return text


def _calibration(results) -> str:
    slope = results.get("external.calibration_slope.Nomogram", results.get("calibration.slope.Nomogram.validation"))
    if slope is None or slope["value"] is None:
        return "Calibration of the predicted risks was not estimated in this run."
    text = format_estimate(slope["value"], *slope["ci"])
    verdict = "not distinguishable from the ideal of 1"
    if slope["ci"][1] < 1:
        verdict = "below the ideal of 1: predicted risks were too extreme"
    elif slope["ci"][0] > 1:
        verdict = "above the ideal of 1: predicted risks were not extreme enough"
    return f"The calibration slope of the nomogram in the validation cohort was {text}, {verdict}."


def optimism(results: Mapping[str, Mapping]) -> str:
    """Say what the nomogram's C in the primary cohort loses out-of-fold, and how that track's does in validation.

    Nothing for a run with one track.
    """
    keys = ["table2.cindex.Nomogram.primary", "table2.cindex.Nomogram.primary_oof"]
    keys += ["table2.cindex_optimism.Nomogram.primary_oof"]
    values = [results.get(key, {}).get("value") for key in keys]
    if None in values:
        return ""
    difference = format_estimate(values[2], *results[keys[2]]["ci"])
    text = f"In the primary cohort the nomogram's C was {format_number(values[0])} in-sample and "
    text += f"{format_number(values[1])} out-of-fold; the difference, {difference}, is the optimism of evaluating the "
    text += "networks in the patients they were trained on."
    judged = [results.get(f"{kind}.Nomogram.validation_oof") for kind in ("table2.cindex", "calibration.slope")]
    if any(entry is None or entry["value"] is None for entry in judged):
        return text
    c, slope = (format_estimate(entry["value"], *entry["ci"]) for entry in judged)
    text += (
        f" Fitted to out-of-fold probabilities, it had C {c} and calibration slope {slope} in the validation cohort."
    )
    return text


SIGNED = {"primary": "primary in-sample", "primary_oof": "primary out-of-fold"}  # with two tracks


def _over_seeds(validity: Mapping[str, Mapping], key: str) -> tuple[str, int]:
    """Return the range of a headline number over training seeds, and how many; nothing where it was not measured."""
    entry = validity.get(f"validity.seeds.{key_word(key)}")
    return ("{} to {}".format(*map(format_number, entry["ci"])), entry["n"]) if entry else ("", 0)


def over_seeds(validity: Mapping[str, Mapping], provenance: str, cohorts: Iterable[str]) -> str:
    """Say over which ranges the C-indices of Table 2 lay when networks were trained at several seeds.

    Parameters
    ----------
    validity
        Results of the controls, which are of the synthetic cohort; nothing is said of other patients.
    provenance
        The class of the run's patients.
    cohorts
        `primary`, `primary_oof`, `validation`: those that the table has.
    """
    found, seeds = [], 0
    for cohort in cohorts if provenance == "SYNTHETIC" else ():
        ranges = {m: _over_seeds(validity, f"table2.cindex.{m}.{cohort}") for m in ("Nomogram", "DLRS", "T2W", "ADC")}
        seeds = max(seeds, *(n for _, n in ranges.values()))
        texts = [f"{model} {text}" for model, (text, _) in ranges.items() if text]
        found += [f"{SIGNED.get(cohort, cohort)} {', '.join(texts)}"] if texts else []
    head = f"Range of C over {seeds} training seeds in the last run of the controls: "
    return head + "; ".join(found) + "." if found else ""


NULL_MODELS = {  # column to what its scores are called
    "independent": "independent of the outcome",
    "overfitted": "overfitted in the primary cohort",
    "as overfitted as the paper": "as overfitted in the primary cohort as the paper's",
}


def null_models(null: pd.DataFrame) -> list[str]:
    """Return the data-generating models of a null simulation: columns that have an interval."""
    return [name for name in null if f"{name}_lower" in null]


def _null(null: pd.DataFrame | None) -> str:
    if null is None:
        return "No null simulation was run, so that the false-positive rates of these findings are unknown."
    texts = []
    for model in null_models(null):
        often = (null[model] > 0.5).groupby(null["cohort"]).agg(["sum", "size"])
        counts = [f"{n} of {total} conclusions in the {cohort} cohort" for cohort, n, total in often.itertuples()]
        texts.append(f"{' and '.join(counts)} with scores {NULL_MODELS.get(model, model)}")
    return f"With uninformative images, most simulated studies reached {'; '.join(texts)}."


LIMITS = {
    "SYNTHETIC": "The patients are generated: agreement shows that the analysis can be carried out as described, and "
    "neither confirms nor refutes the published estimates.",
    "COHORT": "A difference from the published estimates may lie in the patients, the images or the trained networks.",
    "PUBLISHED": "This run holds no patient's result, only what follows from the printed numbers.",
}


def side_by_side(
    rows: pd.DataFrame, results: Mapping[str, Mapping] | None = None, validity: Mapping[str, Mapping] | None = None
) -> pd.DataFrame:
    """Return the rows of `beside` that belong to Table 2: published and rerun, the cohorts next to one another.

    Parameters
    ----------
    rows
        Of `beside`.
    results
        The run's, for the out-of-fold estimates of the primary cohort, where it has them.
    validity
        Results of the controls, for the range of each estimate over training seeds; of the synthetic cohort only.
    """
    results, measures = results or {}, {"cindex": "C-index", "nri": "NRI", "idi": "IDI"}
    validity = validity if validity and class_of(results) == "SYNTHETIC" else {}
    wide: dict[tuple, dict] = {}
    for row in rows[rows["key"].str.startswith("table2.") & rows["same"].notna()].itertuples():
        measure, model, cohort = row.key.removeprefix("table2.").split(".")
        line = wide.setdefault((measure, model), {"Measure": measures.get(measure, measure), "Model": model})
        line[f"{cohort.capitalize()}, published"] = row.published
        line[f"{cohort.capitalize()}, this run"] = row.rerun
        if entry := results.get(f"{row.key}_oof") if cohort == "primary" else None:
            line["Primary, out-of-fold"] = format_estimate(entry["value"], *(entry.get("ci") or (None, None)))
        over, seeds = _over_seeds(validity, row.key)
        if over:
            line[f"{cohort.capitalize()}, over {seeds} seeds"] = over
    return pd.DataFrame(list(wide.values())).fillna("")


def estimates(results: Mapping[str, Mapping], paper: Mapping, names: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return published and rerun estimates with their intervals, for `plots.published_and_rerun`.

    Parameters
    ----------
    names
        Beginning of a key to the panel in which its estimates are drawn and to what they are called there; of the keys
        of "Percentage" only those that end in `_percent` are taken.

    Returns
    -------
    DataFrame
        panel, item, published, published_lower, published_upper, value, lower, upper; limits are NaN where there are
        none.
    """
    unknown = [float("nan")] * 2
    rows = []
    for key, printed in published_entries(paper):
        start = next((start for start in names if key.startswith(start + ".")), None)
        ours = results.get(key, {"value": None})
        if start is None or ours["value"] is None:
            continue
        panel, name = names[start]
        if panel == "Percentage" and not key.endswith("_percent"):
            continue
        words = key.removeprefix(start + ".").removesuffix("_percent").replace("non_", "non-").replace("pcr", "pCR")
        name = f"{name} {', '.join(words.replace('_', ' ').split('.'))}".strip()
        values = [printed["value"], *printed.get("ci", unknown), ours["value"], *(ours.get("ci") or unknown)]
        rows.append([panel, name, *values])
    columns = ["panel", "item", "published", "published_lower", "published_upper", "value", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)
