"""Sentences with numbers of a run in them: a draft of methods and results, and the limitations of a study."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from dlrs import config, results
from dlrs_run import pages

PLACE = re.compile(r"\{([^{}|]+)(?:\|(\w+))?\}")


def _interval(entry: Mapping, digits: int | None = None) -> str:
    text = results.format_estimate(entry["value"], *(entry.get("ci") or (None, None)), digits)
    return text.replace("(", "(95% CI ", 1)


def _p(entry: Mapping) -> str:
    return results.p_text(entry["p"])


FORMS = {  # how an entry is written
    None: _interval,
    "two": lambda entry: _interval(entry, 2),
    "months": lambda entry: f"{results.format_number(entry['value'], 1)} months",
    "tested": lambda entry: _interval(entry).replace(")", f"; {_p(entry)})"),
    "number": lambda entry: results.format_number(entry["value"]),
    "whole": lambda entry: f"{entry['value']:.0f}",
    "percent": lambda entry: f"{100 * entry['value']:.0f}%",
    "of": lambda entry: f"{entry['value']:.0f} of {entry['n']}",
    "n": lambda entry: f"{entry['n']}",
    "p": _p,
    "range": lambda entry: "{} to {}".format(*map(results.format_number, entry["ci"])),
    "target": lambda entry: f"{entry['target']:g}",
}


def fill(sentence: str, entries: Mapping[str, Mapping]) -> str:
    """Return a sentence with the numbers that it names, or nothing where a run has no such number.

    Parameters
    ----------
    sentence
        With `{key}` or `{key|form}` for a number, see `FORMS`; `{horizon}` within a key is the horizon in months.
    entries
        Key to entry, as in `results.json`.

    Examples
    --------
    >>> fill("C was {c}.", {"c": {"value": 0.7144, "ci": [0.602, 0.805]}})
    'C was 0.714 (95% CI 0.602 to 0.805).'
    >>> fill("C was {c}.", {})
    ''
    """
    horizon = entries.get("fig1.horizon_months", {}).get("value")
    sentence = sentence.replace("{horizon}", f"{horizon:g}" if horizon else "none")
    for key, form in PLACE.findall(sentence):
        entry = entries.get(key, {})
        if not isinstance(entry.get("value"), int | float) or (form in ("n", "of") and entry.get("n") is None):
            return ""
    return PLACE.sub(lambda place: FORMS[place[2]](entries[place[1]]), " ".join(sentence.split()))


def paragraphs(
    texts: Iterable[Iterable[str | Mapping[str, str]]], entries: Mapping[str, Mapping], kinds: Iterable[str]
) -> list[list[str]]:
    """Return the paragraphs of `paper/draft.yaml` as lists of sentences whose numbers a run has.

    `kinds` are the run's class and whether its models were fitted or released: a sentence under another is left out.
    """
    found = []
    for paragraph in texts:
        chosen = [
            next((text[kind] for kind in kinds if kind in text), "") if isinstance(text, Mapping) else text
            for text in paragraph
        ]
        filled = [sentence for text in chosen if (sentence := fill(text, entries))]
        found += [filled] if filled else []
    return found


def write(folder: Path, texts: Mapping, entries: Mapping[str, Mapping], kinds: Iterable[str]) -> dict[str, bytes]:
    """Write methods and results with a run's numbers to `draft.md` and `word/draft.docx`; return both by file name."""
    kinds = list(kinds)
    stamp = results.STAMPS[kinds[0]]
    parts = {
        name.capitalize(): [" ".join(sentences) for sentences in paragraphs(texts[name], entries, kinds)]
        for name in ("methods", "results", "limitations")
    }
    lines = ["# Draft of methods and results", stamp]
    for heading, written in parts.items():
        lines += [f"## {heading}", *written]
    contents = {
        "draft.md": ("\n\n".join(lines) + "\n").encode(),
        "word/draft.docx": pages.docx_text(parts, stamp=stamp),
    }
    for name, content in contents.items():
        with config.whole_file(folder / name) as partial:
            partial.write_bytes(content)
    return {Path(name).name: content for name, content in contents.items()}


def texts() -> dict:
    """Return the sentences of `paper/draft.yaml`."""
    return yaml.safe_load(config.resolve("paper/draft.yaml").read_text(encoding="utf-8"))
