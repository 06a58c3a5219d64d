"""Every command line that README, docs, messages and notebooks print is one that run.py and its modules accept."""

import importlib
import importlib.util
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dlrs_run import pages

ROOT = Path(__file__).parents[1]
SUFFIXES = {"", ".py", ".md", ".yaml", ".html", ".ipynb", ".yml", ".json"}
PLACES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Snakefile", "codecheck.yml", "docs", "data_synthetic"]
PLACES += ["notebooks", "src", ".ci/run", ".github", ".devcontainer", ".binder", "Dockerfile", "profiles", "paper"]


def texts():
    for place in (ROOT / name for name in PLACES):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.suffix in SUFFIXES and "images" not in path.parts:
                text = path.read_text(encoding="utf-8")
                if path.suffix == ".ipynb":
                    text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
                yield path.relative_to(ROOT), text


def command_lines() -> list[str]:
    """What stands behind `python3 run.py` in back-ticks, perhaps over two lines, or on a line of its own."""
    found = set()
    for _, text in texts():
        joined = re.sub(r"\n#? *", " ", text)
        found |= {match.strip() for match in re.findall(r"`python3 run\.py([^`]*)`", joined)}
        own_line = r"^\s*(?:- run: )?python3 run\.py ([^#\n`|]*)"
        found |= {match.strip() for match in re.findall(own_line, text, re.MULTILINE)}
    return sorted(line for line in found if "{" not in line)  # of messages, whose command is filled in


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run.py with a folder of its own; a module of the package that it starts is called here, other tools are noted."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    run.started = []

    def start(command, **_):
        run.started.append([str(word) for word in command])
        status = 0
        if "-m" in command and command[2] in (
            "dlrs_site.doctor",
            "dlrs.synthetic.cohort_folder",
            "dlrs_site.privacy",
            "dlrs_site.release",
        ):
            status = importlib.import_module(command[2]).main(list(command[3:]))
        return subprocess.CompletedProcess(command, status, stdout="")

    python = tmp_path / ".venv" / "bin" / "python"
    kernel = tmp_path / ".venv" / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text('{"argv": ["python"], "display_name": "Python 3 (ipykernel)"}')
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    monkeypatch.setattr(run, "set_up", lambda *groups: str(python))
    monkeypatch.setattr(
        run, "study", lambda run_dir, *targets, **settings: run.started.append(["study", settings.get("part")])
    )
    monkeypatch.setattr(run.subprocess, "run", start)
    monkeypatch.setattr(run.os, "execv", lambda _, command: start(command).returncode)
    monkeypatch.setattr(
        "dlrs.synthetic.cohort_folder.write_cohort", lambda folder, **options: run.started.append(options) or 0
    )
    monkeypatch.setattr("dlrs_site.doctor.new", Path)
    monkeypatch.chdir(tmp_path)
    return run


def test_the_texts_print_the_commands_that_are_looked_for():
    words = {line.split()[0] for line in command_lines() if line}
    assert words >= {"cohort", "lab", "test", "reproduce", "new-cohort", "check-private", "validate", "validity"}
    assert len(command_lines()) > 25


@pytest.mark.parametrize("line", command_lines())
def test_a_printed_command_line_runs_or_refuses_what_is_missing(run, line, capsys):
    words = [{"COMMAND": "cohort", "N": "7", "S": "0.5", "NAME": "smoke"}.get(word, word) for word in shlex.split(line)]
    try:
        status = run.main(words)
    except SystemExit as stopped:  # argparse: 0 after --help, 2 for words that it does not know
        status = stopped.code
    said = capsys.readouterr()
    needs_more = "the following arguments are required" in said.err  # the text names a command without its folders
    assert "unrecognized" not in said.err and "invalid" not in said.err, said.err
    assert status in (0, 1) or (needs_more and len(words) == 1), said.err
    assert "Traceback" not in said.err


def test_every_mention_of_run_py_names_a_command_that_there_is(run):
    known = {*run.parsers()[1], "COMMAND"}
    for path, text in texts():
        for name in re.findall(r"run\.py ([a-z][a-z-]+)", text):
            assert name in known or name in {"alone", "and", "starts", "shows"}, f"{path}: run.py {name}"


def test_the_help_of_every_command_says_what_it_does_with_an_example_that_parses(run, capsys):
    whole, commands = run.parsers()
    for name, parser in commands.items():
        with pytest.raises(SystemExit, match="0"):
            whole.parse_args([name, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert parser.description in said and f"Example: python3 run.py {name}" in said
        example = shlex.split(parser.epilog.removeprefix("Example: python3 run.py "))
        asked, more = whole.parse_known_args(example)
        assert asked.parser is parser and (not more or asked.takes_more)


def test_the_start_page_lists_the_notebooks_with_their_questions():
    written = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    remedy = "write it anew with `.venv/bin/python -m dlrs_run.pages > notebooks/README.md`"
    assert written == pages.start_page(), remedy
    lines = [line for line in written.splitlines() if line.startswith("| [")]
    assert len(lines) == len(list((ROOT / "notebooks").glob("*.ipynb"))) and all("?" in line for line in lines)


def test_docs_commands_md_is_the_parsers(run, monkeypatch):
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    remedy = "write it anew with `python3 -c \"import run; print(run.commands_md(), end='')\" > docs/commands.md`"
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert written == run.commands_md(), remedy


@pytest.mark.parametrize(
    ("words", "module", "handed_on"),
    [
        (["test", "-k", "x", "--maxfail=1"], "pytest", ["-k", "x", "--maxfail=1"]),
        (["test", "--", "-k", "x"], "pytest", ["-k", "x"]),
        (["test", "tests/test_page.py", "-x"], "pytest", ["tests/test_page.py", "-x"]),
        (["test", "-k", "x"], "pytest", ["--dist", "worksteal", "-m", "not slow", "-k", "x"]),
        (["test", "--all", "-k", "x"], "pytest", ["2", "--dist", "worksteal", "-k", "x"]),
        (["test", "--quick", "-k", "x"], "pytest", ["-m", "not imaging and not slow", "-k", "x"]),
        (["lab", "--no-browser", "--port", "8890"], "jupyterlab", ["--no-browser", "--port", "8890"]),
    ],
)
def test_options_of_tests_and_lab_reach_their_tools(run, words, module, handed_on):
    assert run.main(words) == 0
    (command,) = [command for command in run.started if command[2] == module]
    assert command[-len(handed_on) :] == handed_on


def test_the_options_of_cohort_reach_the_generator(run):
    words = ["--seed", "7", "--signal", "0.25", "--size-signal", "0.5", "--out", "F", "--patients", "20", "--jobs", "1"]
    assert run.main(["cohort", *words, "--free-counts", "--tables-only"]) == 0
    wanted = dict(
        seed=7, signal=0.25, size_signal=0.5, exact_counts=False, patients=20, jobs=1, tables=True, images=False
    )
    assert run.started[-1] == wanted


def test_the_options_of_evaluate_reach_its_module(run):
    from dlrs_run import evaluate

    words = "--id a --time b --time-unit days --event c --horizon 730 --risk d --risk e --survival f --score g"
    words += " --cohort h --centre i --clinical j,k --smallest-count 5 --map m.yaml"
    assert run.main(["evaluate", "t.csv", "--out", "F", *words.split()]) == 0
    (command,) = [command for command in run.started if command[2] == "dlrs_run.evaluate"]
    asked = evaluate.parser().parse_args(command[3:])
    assert (asked.table, asked.out, asked.horizon, asked.risk) == ("t.csv", "F", 730.0, ["d", "e"])
    assert (asked.survival, asked.score, asked.smallest_count) == (["f"], ["g"], 5)
    assert [asked.id, asked.time, asked.event, asked.cohort, asked.centre, asked.clinical] == [*"abchi", "j,k"]
    with pytest.raises(SystemExit, match="2"):
        run.main(["evaluate", "t.csv"])


@pytest.mark.parametrize("words", ["statistics --quick", "cohort --out F --sede 7", "lab --help", "check runs"])
def test_what_a_command_does_not_know_is_refused(run, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(words.split())
    said = capsys.readouterr()
    assert (stopped.value.code == 0) if "help" in words else "unrecognized arguments" in said.err
    assert not run.started


def test_clean_leaves_a_notebook_that_was_run_and_saved_as_it_was_committed(run, tmp_path):
    committed = ROOT / "notebooks" / "10_report.ipynb"
    path = tmp_path / "notebooks" / committed.name
    path.parent.mkdir()
    saved = json.loads(committed.read_text(encoding="utf-8"))
    saved["metadata"]["language_info"] |= {"codemirror_mode": {"name": "ipython", "version": 3}, "version": "3.11.7"}
    saved["metadata"]["language_info"] |= {"mimetype": "text/x-python", "file_extension": ".py"}
    saved["metadata"]["language_info"] |= {"pygments_lexer": "ipython3", "nbconvert_exporter": "python"}
    cell = next(cell for cell in saved["cells"] if cell["cell_type"] == "code")
    cell["execution_count"], cell["outputs"] = 7, [{"name": "stdout", "output_type": "stream", "text": ["24"]}]
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert run.main(["clean"]) == 0
    subprocess.Popen([sys.executable, *run.started[-1][1:]]).wait()
    assert path.read_bytes() == committed.read_bytes()


def test_lab_starts_as_root_on_the_list_of_notebooks_and_asks_for_no_news(run, monkeypatch, tmp_path):
    kernel, cached = (
        tmp_path / ".venv" / "share" / "jupyter" / "kernels" / "python3" / "kernel.json",
        tmp_path / "cached",
    )
    os.link(kernel, cached)  # uv's cache holds the same file
    for user, is_root in ((0, True), (1000, False)):
        monkeypatch.setattr(run.os, "geteuid", lambda user=user: user)
        assert run.main(["lab"]) == 0
        assert ("--allow-root" in run.started[-1]) == is_root
        assert "--LabApp.default_url=/lab/tree/notebooks/README.md" in run.started[-1]
    assert json.loads(kernel.read_text()) == {"argv": ["python"], "display_name": "dlrs"}
    assert "ipykernel" in cached.read_text()
    overrides = tmp_path / ".venv" / "etc" / "jupyter" / "labconfig" / "default_setting_overrides.json"
    assert json.loads(overrides.read_text()) == {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    }


def test_what_ends_lab_ends_jupyterlab():
    start = (
        f"import sys, run; run.set_up = lambda *_: {sys.executable!r}; run.main(['lab', '--no-browser', '--port=0'])"
    )
    command = [sys.executable, "-c", start]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        ports = (re.search(r"http://\S+?:(\d+)/", line) for line in server.stderr)
        port = int(next(filter(None, ports))[1])
        server.terminate()
        server.communicate(timeout=60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("sys.platform = 'win32'", "This runs on Linux or macOS; on Windows use WSL."),
        ("sys.version_info = (3, 9, 18, 'final', 0)", "Python 3.11, 3.12 or 3.13 is needed; this is 3."),
    ],
)
def test_another_machine_gets_one_sentence(machine, said):
    code = f"import runpy, sys; sys.modules['fcntl'] = None; {machine}; runpy.run_path('run.py', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert ran.returncode == 1 and ran.stderr.startswith(said) and len(ran.stderr.splitlines()) == 1
