"""The notebooks' house rules: no outputs, a card, typed parameters, short cells, the same headings."""

import ast
import json
import re
import statistics
import subprocess
import sys

import matplotlib
import pytest

from dlrs import config
from dlrs.config import ROOT
from dlrs.parameters import RULES
from dlrs_run import execute

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CARD = ["Question", "Regenerates", "Reads", "Writes", "Run time"]
HEADINGS = ["Imports", "Data", "Analysis", "Results saved", "Checks"]
RECORDED = [
    "Imports",
    "Data",
    "Analysis",
    "Answer",
    "Checks",
    "Session",
]  # of notebooks with a record, see dlrs.results
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def text(cell):
    return "".join(cell["source"])


def recorded(path):
    return "results.start(" in "\n".join(text(cell) for cell in read(path)["cells"])


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert {path.stem[:2] for path in NOTEBOOKS} >= {"01", "02", "03", "04", "05", "06", "07"}


@every_notebook
def test_it_carries_no_outputs(path):
    assert read(path)["metadata"]["kernelspec"]["display_name"] == "dlrs"  # as `lab` calls it
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_nbstripout_finds_nothing_to_strip():
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", *map(str, NOTEBOOKS)]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


@every_notebook
def test_it_begins_with_a_card_and_parameters(path):
    card, parameters = read(path)["cells"][:2]
    found = re.findall(r"^\*\*(.+?)\.\*\*", text(card), flags=re.MULTILINE)
    assert card["cell_type"] == "markdown" and found == CARD
    assert parameters["metadata"].get("tags") == ["parameters"]
    tagged = [cell for cell in read(path)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1


@every_notebook
def test_what_the_card_says_it_writes_is_named_in_its_code(path):
    card, *cells = read(path)["cells"]
    code = "\n".join(text(cell) for cell in cells if cell["cell_type"] == "code")
    written = re.search(r"\*\*Writes\.\*\*(.*?)\n\n", text(card), flags=re.DOTALL)[1]
    for item in re.findall(r"`([^`]+)`", written):
        name = re.split(r"[<.*]", item.rpartition("/")[2])[0]
        assert name in code or name[:-1] in code, item  # fig3{panel} stands for fig3b to fig3g


@every_notebook
def test_parameters_are_typed_literals_with_one_comment_each(path):
    cell = text(read(path)["cells"][1])
    for line, node in zip(cell.splitlines(), ast.parse(cell).body, strict=True):
        assert isinstance(node, ast.AnnAssign), line
        value = ast.literal_eval(node.value)
        kinds = [part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name)]  # `str | float` has two
        assert type(value) in [TYPES[kind] for kind in kinds], line
        assert re.fullmatch(r"[^#]*\S  # \S.*", line), f"one trailing comment, two spaces before it: {line}"


def test_the_notebooks_of_the_statistics_refuse_a_number_that_they_cannot_use():
    """`parameters.check` stands in each of them, and each number or list that they declare has a range."""
    names = ["00_paper_audit", "01_cohort", "04_signature", "05_nomogram", "06_evaluation", "06b_deviations"]
    for path in [ROOT / "notebooks" / f"{name}.ipynb" for name in [*names, "06c_multiverse", "07_subgroups"]]:
        assert any(text(cell).startswith("parameters.check(globals())") for cell in read(path)["cells"]), path.stem
        bounded = {name for name, kind in execute.declared(path).items() if re.search("int|float|list", kind)}
        assert bounded <= set(RULES), path.stem


@every_notebook
def test_the_headings_are_the_same_everywhere(path):
    markdown = "\n".join(text(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    assert re.findall(r"^## (.+)$", markdown, flags=re.MULTILINE) == (RECORDED if recorded(path) else HEADINGS)


@every_notebook
def test_cells_are_short(path):
    lengths = [len(text(cell).splitlines()) for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    longest, median = (25, 10) if recorded(path) else (40, 20)
    assert max(lengths) <= longest and statistics.median(lengths) <= median


@every_notebook
def test_no_warning_is_silenced_and_no_machine_is_named(path):
    code = "\n".join(text(cell) for cell in read(path)["cells"] if cell["cell_type"] == "code")
    assert not re.search(r"filterwarnings\(.ignore|^%|^!", code, flags=re.MULTILINE)
    assert not re.search(r"[\"'](/|[A-Z]:\\|~)", code), "an absolute path"


@every_notebook
def test_a_missing_run_is_one_sentence_with_the_command_that_makes_it(path, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "paper").symlink_to(ROOT / "paper")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    code = [text(cell) for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    first = next(place for place, source in enumerate(code) if "config.run_folder(" in source)
    assert not any("torch" in source or "dlrs.imaging" in source for source in code[:first]), "torch may be missing too"
    with matplotlib.rc_context(), pytest.raises(config.InputError) as refused:
        exec("\n".join(code[: first + 1]), {})
    (shown,) = refused.value._render_traceback_()
    assert re.fullmatch(rf"runs(/\w+)?: [^\n]*`python3 run\.py {config.made_by(path.stem)}` makes (it|one)\.", shown)


@every_notebook
def test_the_last_cell_says_what_ran(path):
    last = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"][-1]
    assert ("record.finish(" if recorded(path) else "session_information(") in text(last)


@pytest.mark.parametrize("path", list(filter(recorded, NOTEBOOKS)), ids=lambda path: path.stem)
def test_a_recorded_notebook_runs_by_hand_and_answers_its_question(path):
    cells = read(path)["cells"]
    first = text(cells[1]).splitlines()[0]
    if path.stem[:2] in ("02", "03", "08", "09"):  # those need images, or a run of the null simulations
        assert first.startswith(('run_dir: str = "runs/default"', 'run_dir: str = "runs/validity"'))
    else:
        assert first == 'run_dir: str = ""  # folder of a run; empty: the newest finished one'
        assert "config.run_folder(run_dir" in "\n".join(text(cell) for cell in cells)
    answer = [place for place, cell in enumerate(cells) if text(cell).startswith("## Answer")][0]
    code = "\n".join(text(cell) for cell in cells[answer:] if cell["cell_type"] == "code").split("assert")[0]
    assert "Markdown(" in code and "{" in code, "the answer is computed"
