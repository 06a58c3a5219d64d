"""The draft of methods and results: every number in it is an entry of the run, rounded, and none is typed."""

import io
import json
import re

import docx
import pytest

from dlrs.config import ROOT
from dlrs_run import draft

NAMES = ("95%", "T2")  # what has a digit and is no number of a run
NUMBER = re.compile(r"-?\d+(?:\.\d+)?%?")


@pytest.fixture(scope="module")
def entries():
    return json.loads((ROOT / "reports" / "results.json").read_text(encoding="utf-8"))


def numbers(text):
    for name in NAMES:
        text = text.replace(name, "")
    return NUMBER.findall(text)


def sentences(texts):
    for paragraph in texts:
        for text in paragraph:
            yield from text.values() if isinstance(text, dict) else [text]


@pytest.mark.parametrize("part", ["methods", "results", "limitations"])
def test_no_number_is_typed_into_a_sentence(part):
    for sentence in sentences(draft.texts()[part]):
        assert not numbers(draft.PLACE.sub("", sentence.replace("{horizon}", "m"))), sentence


def test_every_number_of_the_draft_is_a_rounded_entry_of_the_run(entries, tmp_path):
    contents = draft.write(tmp_path, draft.texts(), entries, ["SYNTHETIC", "fitted"])
    text = contents["draft.md"].decode()
    known = [x for entry in entries.values() for x in [entry["value"], *(entry.get("ci") or []), entry.get("p"),
             entry.get("n"), entry.get("target")] if isinstance(x, int | float)]  # fmt: skip
    found = numbers(text)
    assert len(found) > 80
    for number in found:
        digits = len(number.rstrip("%").partition(".")[2])
        scale = 100 if number.endswith("%") else 1
        rounded = {f"{scale * value:z.{digits}f}{'%' * number.endswith('%')}" for value in known}
        below = any(0 <= value < float(number) for value in known) if f"P < {number}" in text else False
        assert number in rounded or below, number


def test_word_and_markdown_hold_the_same_draft_and_the_class_of_its_numbers(entries, tmp_path):
    contents = draft.write(tmp_path, draft.texts(), entries, ["SYNTHETIC", "fitted"])
    lines = [line.lstrip("# ") for line in contents["draft.md"].decode().split("\n\n")]
    written = docx.Document(io.BytesIO(contents["draft.docx"]))
    assert [p.text for p in written.paragraphs] == [line.strip() for line in lines[1:]]
    assert "SYNTHETIC: generated patients" in lines[1]
    assert (tmp_path / "word" / "draft.docx").read_bytes() == contents["draft.docx"]
    assert contents == draft.write(tmp_path, draft.texts(), entries, ["SYNTHETIC", "fitted"])


def test_a_sentence_without_its_number_is_left_out_and_never_half_written(entries):
    texts, kinds = draft.texts()["results"], ["SYNTHETIC", "fitted"]
    whole = draft.paragraphs(texts, entries, kinds)
    less = draft.paragraphs(texts, entries | {"fig1.auc.ADC.validation": {"value": None, "reason": "no event"}}, kinds)
    assert [len(whole[0]) - len(less[0]), len(whole[1]) - len(less[1])] == [1, 0]
    assert draft.paragraphs(texts, {}, kinds) == []


def test_a_released_model_is_not_said_to_have_been_fitted(entries):
    said = str(draft.paragraphs(draft.texts()["methods"], entries, ["COHORT", "released"]))
    assert "A released model was applied" in said and "trained" not in said and "generated" not in said


def test_p_stands_with_the_sign_of_its_kind():
    entry = {"a": {"value": 0.3, "ci": [0.1, 0.5], "p": 0.0004}, "b": {"value": 0.1, "p": 0.0123}}
    assert draft.fill("{a|tested}, {b|p}", entry) == "0.300 (95% CI 0.100 to 0.500; P < 0.001), P = 0.012"
