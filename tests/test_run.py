"""The front door and the graph: on a small project of three notebooks, which runs the real run.py and Snakefile."""

import argparse
import ast
import contextlib
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml
from packaging.markers import Marker, default_environment
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from dlrs import cohort
from dlrs.config import sha256
from dlrs_run import evaluate, plan, universes
from dlrs_site import release
from executed import entries, execute

ROOT = Path(__file__).parents[1]
WRITE = """
from dlrs.config import resolve, whole_file

def put(name, text):
    with whole_file(resolve(run_dir) / "interim" / name) as partial:
        partial.write_text(text)
"""
HEAD = """include: "workflow/common.smk"


rule all:
    input:
        {last},


"""
RULE = """rule {name}:
    input:
        {reads},
        sources=repository({sources}),
    output:
        {writes},
    params:
        stage="{name}",
        values=parameters({given}),
    shell:
        run("{what}"{keep})


"""


def rule(name, *, notebook=None, function=None, reads=(), writes, given="", keep=False):
    """Write a rule as the workflow has them; its files are Python expressions."""
    notebook = None if function else notebook or name
    sources, given = (
        f'"notebooks/{notebook}.ipynb"' if notebook else "",
        f'"{notebook}", {given}' if notebook else given,
    )
    text = RULE if function else RULE.replace("    params:", '    log:\n        "notebooks/{name}.ipynb",\n    params:')
    keep, what = ", keep=True" if keep else "", function or notebook
    files = {"reads": ", ".join(reads) or "[]", "writes": ", ".join(writes)}
    return text.format(name=name, sources=sources, given=given, what=what, keep=keep, **files)


A = rule("a", reads=['f"{COHORT}/clinical.csv"'], writes=['"interim/a.txt"'])
B = [
    rule(f"b_{x}", notebook="b", given=f'letter="{x}"', reads=['"interim/a.txt"'], writes=[f'"interim/{x}"'], keep=True)
    for x in "XY"
]
C = rule("c", reads=['"interim/X"', '"interim/Y"'], writes=['"interim/c.txt"'])
SHORT_C = rule("c", reads=['"interim/a.txt"'], writes=['"interim/c.txt"'])


LINUX = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]


def linux_tags():
    """The wheels that fit CPython 3.11 on Linux, the best first."""
    return [*cpython_tags((3, 11), platforms=LINUX), *compatible_tags((3, 11), "cp311", platforms=LINUX)]


def load_run(root: Path):
    spec = importlib.util.spec_from_file_location("run", root / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run():
    return load_run(ROOT)


class Project:
    """A folder with run.py, what the workflow's parts share, and rules and notebooks of its own."""

    def __init__(self, root: Path):
        self.root, self.out = root, root / "runs" / "default"
        for folder in ("notebooks", "profiles/default", "data_synthetic"):
            (root / folder).mkdir(parents=True)
        (root / "workflow").mkdir()
        for name in ("run.py", "workflow/common.smk"):
            shutil.copy(ROOT / name, root / name)
        (root / "data_synthetic" / "cohort.yaml").write_text("class: SYNTHETIC\n")
        (root / "data_synthetic" / "truth.csv").write_text("patient_id\n")
        (root / "data_synthetic" / "clinical.csv").write_text("patient_id,cohort\nP1,primary\nP2,validation\n")
        (root / "profiles" / "default" / "config.yaml").write_text("configfile: parameters.yaml\n")
        start = f"import sys, run\nrun.set_up = lambda *_: {sys.executable!r}\nsys.exit(run.main(sys.argv[1:]))\n"
        (root / "start.py").write_text(start)
        self.profile()
        self.rules(A, *B, C)
        self.notebook("a", WRITE, "put('a.txt', 'a')")
        slow = "from time import sleep\nfrom tqdm import tqdm\nfor _ in tqdm(range(20), desc='epochs'):\n    sleep(0.1)"
        self.notebook("b", WRITE, slow, "put(letter, cohort_dir)", parameters='letter: str = "Z"  # which')
        self.notebook("c", WRITE, "put('c.txt', 'c')")

    def profile(self, **parameters):
        (self.root / "profiles" / "default" / "parameters.yaml").write_text(yaml.safe_dump(parameters))

    def rules(self, *texts, last='"interim/c.txt"'):
        (self.root / "Snakefile").write_text(HEAD.format(last=last) + "".join(texts))

    def notebook(self, name, *cells, parameters=""):
        first = f'run_dir: str = ""  # folder\ncohort_dir: str = ""  # folder\n{parameters}'
        made = [{"cell_type": "markdown", "id": "card", "metadata": {}, "source": "# card"}]
        for place, source in enumerate([first, *cells]):
            code = {"cell_type": "code", "id": f"c{place}", "metadata": {}, "outputs": [], "execution_count": None}
            code |= {"source": source} | ({} if place else {"metadata": {"tags": ["parameters"]}})
            made.append(code)
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        content = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (self.root / "notebooks" / f"{name}.ipynb").write_text(json.dumps(content))

    def start(self, *words) -> subprocess.Popen:
        command = [sys.executable, "start.py", "reproduce", *words]
        return subprocess.Popen(command, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def reproduce(self, *words) -> tuple[int, str]:
        process = self.start(*words)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def wait_for(self, path: str) -> None:
        end = time.monotonic() + 120
        while not (self.out / path).exists():
            assert time.monotonic() < end, f"{path} did not come"
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Processes that work for this project: their command line names its folder, or their parent's does."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.root).encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
        return found


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_without_arguments_the_commands_are_listed(run, capsys):
    assert run.main([]) == 0
    said = capsys.readouterr().out
    for command in (
        "reproduce",
        "statistics",
        "test",
        "check",
        "accept",
        "bands",
        "release",
        "validate",
        "cohort",
        "lab",
    ):
        assert f"\n    {command} " in said or f"\n    {command}\n" in said


def test_run_py_needs_the_standard_library_only():
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imports += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in imports} <= sys.stdlib_module_names


def test_uv_is_fetched_with_pip_into_a_folder_of_its_own(run, monkeypatch, tmp_path):
    calls = []

    def pip(command, **_):
        calls.append(command)
        (tmp_path / ".tools" / "bin").mkdir(parents=True)
        (tmp_path / ".tools" / "bin" / "uv").write_text("")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    monkeypatch.setattr(run.subprocess, "run", pip)
    assert run.find_uv() == run.find_uv() == str(tmp_path / ".tools" / "bin" / "uv")
    assert [command[1:4] + command[-2:] for command in calls] == [
        ["-m", "pip", "install", str(tmp_path / ".tools"), "uv"]
    ]


def test_set_up_asks_uv_once_per_lock_and_group(run, monkeypatch, tmp_path, capsys):
    calls, imported = [], []

    def uv(command, *, cwd, env):
        if command[0] != "uv":
            imported.append((command[2], "PYTHONDONTWRITEBYTECODE" in env))
            return subprocess.CompletedProcess(command, 0)
        calls.append((command[1:], env["UV_PYTHON_DOWNLOADS"], Path(env["UV_PYTHON"]).is_file()))
        (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv" / "bin" / "python").write_text("")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    monkeypatch.setattr(run.subprocess, "run", uv)
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("first")
    monkeypatch.setattr(run.sys, "dont_write_bytecode", False)
    sync = ["sync", "--frozen", "--inexact", "--no-default-groups"]
    assert run.set_up() == run.set_up() == str(tmp_path / ".venv" / "bin" / "python")
    assert calls == [(sync, "never", True)]
    assert "(statistics): up to 269 MB to fetch, " in capsys.readouterr().out

    # Groups are added to what is there; a smaller command takes none away, and asks uv for nothing.
    run.set_up("io", "imaging")
    assert calls[1][0] == [*sync, "--group=imaging", "--group=io"]
    assert "(io, imaging): up to 2772 MB to fetch, " in capsys.readouterr().out
    run.set_up("io")
    run.set_up()
    assert len(calls) == 2 and not capsys.readouterr().out
    run.set_up("io", "dev")
    assert calls[2][0] == [*sync, "--group=dev", "--group=imaging", "--group=io"]
    assert "(dev): up to 73 MB to fetch, " in capsys.readouterr().out

    (tmp_path / "uv.lock").write_text("second")
    monkeypatch.setattr(run.sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run.set_up()
    assert calls[3][0] == calls[2][0] and imported == [(f"import {run.USED}", False)]
    assert "to the new uv.lock" in capsys.readouterr().out


def set_up_here(run, monkeypatch, root: Path, uv):
    """Let set_up work in a folder of its own, with a stand-in for uv."""
    monkeypatch.setattr(run, "ROOT", root)
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    monkeypatch.setattr(run.sys, "dont_write_bytecode", False)
    monkeypatch.setattr(run.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, uv()))
    for name in ("uv.lock", "pyproject.toml"):
        (root / name).write_text("")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").touch()


def test_what_stops_the_set_up_is_one_sentence_and_the_same_command_goes_on(run, monkeypatch, tmp_path, capsys):
    outcome = [1, 0]  # the network went half-way, and came back
    set_up_here(run, monkeypatch, tmp_path, lambda: outcome.pop(0))
    monkeypatch.setattr(run, "study", lambda *_, **__: run.set_up())
    assert run.main(["statistics"]) == 1
    said = capsys.readouterr().err.strip()
    assert said == "uv could not set up .venv, for the reason above. Once that is mended, the same command goes on."
    assert not (tmp_path / ".venv" / "set-up").exists()

    free = run.shutil.disk_usage(tmp_path)._replace(free=int(5e8))
    with monkeypatch.context() as full:
        full.setattr(run.shutil, "disk_usage", lambda _: free)
        assert run.main(["statistics"]) == 1
    assert f"{tmp_path} has 0.5 GB free, and that needs 0.9. Once" in capsys.readouterr().err and outcome == [0]

    with run.alone(tmp_path / ".tools", "set-up"):
        assert run.main(["statistics"]) == 1
    assert f".tools is in use by another set-up (process {os.getpid()}). Wait" in capsys.readouterr().err
    assert run.main(["statistics"]) == 0 and (tmp_path / ".venv" / "set-up").is_file()


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to_is_one_sentence(run, monkeypatch, tmp_path, capsys, why):
    def refused(*_, **__):
        raise OSError(why, os.strerror(why), str(tmp_path / "runs"))

    monkeypatch.setattr(run, "study", refused)
    assert run.main(["statistics"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"{tmp_path}/runs cannot be written to: {os.strerror(why)}. Once") and "\n" not in said
    monkeypatch.setattr(run, "study", lambda *_, **__: int("no error of the disk"))
    with pytest.raises(ValueError, match="no error of the disk"):
        run.main(["statistics"])


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        (["statistics"], set()),
        (["check"], set()),
        (["lab"], set()),
        (["cohort", "--out", "F"], {"io"}),
        (["new-cohort", "F"], {"io"}),
        (["check-cohort", "F", "--out", "O"], {"io"}),
        (["check-private", "F", "--cohort", "O"], {"io"}),
        (["reproduce"], {"io", "imaging"}),
        (["release", "--out", "F"], {"io", "imaging"}),
        (["validate", "--model", "F", "--cohort", "O", "--out", "P"], {"io", "imaging"}),
        (["test", "--quick"], {"io", "dev"}),
        (["test"], {"io", "imaging", "dev"}),
    ],
)
def test_a_command_installs_the_groups_that_it_needs(run, monkeypatch, tmp_path, words, groups):
    asked = []
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    (tmp_path / "profiles" / "default" / "config.yaml").write_text("")
    python = str(tmp_path / ".venv" / "bin" / "python")
    kernel = tmp_path / ".venv" / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("{}")
    monkeypatch.setattr(run, "set_up", lambda *names: asked.append(set(names)) or python)
    monkeypatch.setattr(run.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    monkeypatch.setattr(run.os, "execv", lambda *_: 0)
    monkeypatch.chdir(tmp_path)
    assert run.main(words) == 0
    assert set().union(*asked) == groups
    if words[0] in ("statistics", "check", "lab"):  # 01 reads the headers of images that are there
        (tmp_path / "data_synthetic" / "images").mkdir(parents=True)
        assert run.main(words) == 0 and set().union(*asked) == {"io"}
    if words == ["statistics"]:  # of the folder that is asked for
        asked.clear()
        monkeypatch.setattr(run, "examine", lambda *_: None)
        (tmp_path / "own" / "images").mkdir(parents=True)
        for folder, added in (("own", {"io"}), ("tables_only", set())):
            assert run.main(["statistics", "--cohort", str(tmp_path / folder), "--out", "O"]) == 0
            assert asked.pop() == added


def test_what_a_command_says_that_it_fetches_is_the_locks_sum(run):
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    ours = next(package for package in lock if package["name"] == "dlrs")
    place = default_environment() | {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    place |= {"python_version": "3.11", "python_full_version": "3.11.9"}
    tags = {tag: rank for rank, tag in enumerate(linux_tags())}

    def applies(needed):
        return "marker" not in needed or Marker(needed["marker"]).evaluate(place)

    def fetched(wheels):
        named = [(unquote(wheel["url"].split("/")[-1]), wheel["size"]) for wheel in wheels]
        ranks = [(tags[tag], size) for name, size in named for tag in parse_wheel_filename(name)[3] if tag in tags]
        return min(ranks)[1]

    sizes, there = {}, set()
    for group in run.SIZES:
        waiting = [*ours["dependencies"], *ours["dev-dependencies"].get(group, [])]
        sizes[group] = 0
        while waiting:
            needed = waiting.pop()
            if not applies(needed):
                continue
            versions = [
                p for p in lock if p["name"] == needed["name"] and needed.get("version") in (None, p["version"])
            ]
            (package,) = versions
            more = [d for extra in needed.get("extra", []) for d in package["optional-dependencies"][extra]]
            if package["name"] not in there:
                sizes[group] += fetched(package["wheels"]) if "wheels" in package else package["sdist"]["size"]
                there.add(package["name"])
                more += package.get("dependencies", [])
            waiting += [d for d in more if applies(d) and d["name"] not in there]
    assert {group: round(size / 1e6) for group, size in sizes.items()} == {g: mb for g, (mb, _) in run.SIZES.items()}
    assert f"{run.SIZES['statistics'][0]} MB to fetch" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_run_is_made_once_and_only_what_depends_on_a_change_again(project):
    status, said = project.reproduce()
    assert status == 0, said
    for line in ("[1/4] a  starts", "[2/4] b_X  starts", "[3/4] b_Y  starts", "[4/4] c  done in "):
        assert line in said
    assert sorted(path.name for path in (project.out / "notebooks").iterdir()) == [
        f"{name}.ipynb" for name in ("a", "b_X", "b_Y", "c")
    ]
    executed = (project.out / "notebooks" / "b_X.ipynb").read_text()
    assert 'letter = \\"X\\"' in executed and (project.out / "interim" / "X").read_text()
    log = (project.out / "logs" / "b_X.log").read_text()
    assert "Executing Cell 3" in log and "TCP" not in log and "TCP" not in said

    status, said = project.reproduce()
    assert status == 0 and "nothing to do" in said and "starts" not in said

    (project.root / "notebooks" / "a.ipynb").touch()  # the same content is no change
    project.notebook("c", WRITE, "put('c.txt', 'changed')")
    status, said = project.reproduce()
    assert status == 0 and said.count("starts") == 1 and "[4/4] c  starts" in said
    assert (project.out / "interim" / "c.txt").read_text() == "changed"

    # Stage a changes but not what it writes: the stages marked `keep` (here b, in the study training) are not repeated.
    project.notebook("a", WRITE, "put('a.txt', 'a')  # another way to say it")
    status, said = project.reproduce()
    assert status == 0 and "a  done" in said and said.count("put back: nothing") == 2 and "c  done" in said
    assert (project.out / "notebooks" / "b_X.ipynb").is_file()


@pytest.mark.slow
def test_what_a_notebook_run_by_hand_wrote_is_made_again(project):
    project.rules(rule("a", writes=['"results/a.json"']), last='"results/a.json"')
    project.notebook("a", WRITE, "put('../results/a.json', '{}')")
    for said_there, starts in (("", 1), ('{"by_hand": true}', 1), ("{}", 0)):
        if said_there:
            (project.out / "results" / "a.json").write_text(said_there)
        status, said = project.reproduce()
        assert status == 0 and said.count("a  starts") == starts, said
        assert (project.out / "results" / "a.json").read_text() == "{}"


@pytest.mark.slow
def test_what_a_later_stage_drops_is_neither_waited_for_nor_made_again(project):
    large = "interim/large.txt"  # as the volumes of a control of `validity`, which goes when its networks are trained
    first = rule("a", writes=['"interim/a.txt"', f'temp("{large}")'])
    project.rules(first, rule("c", reads=['"interim/a.txt"', f'"{large}"'], writes=['"interim/c.txt"']))
    project.notebook("a", WRITE, "put('a.txt', 'a')\nput('large.txt', 'volumes')")
    drop = "large = resolve(run_dir) / 'interim' / 'large.txt'\nput('c.txt', large.read_text())\nlarge.unlink()"
    project.notebook("c", WRITE, drop)
    status, said = project.reproduce()
    assert status == 0, said
    assert (project.out / "interim" / "c.txt").read_text() == "volumes" and not (project.out / large).exists()
    status, said = project.reproduce()
    assert status == 0 and "nothing to do" in said and "starts" not in said


def test_a_failing_notebook_stops_with_its_path_cell_and_error(project):
    project.rules(A, SHORT_C)
    project.notebook("c", WRITE, "x = 1\nraise ValueError('risk must lie in [0, 1]; found 1.37 at row 17')")
    status, said = project.reproduce()
    assert status == 1
    final = said.split("failed\n")[-1].strip().splitlines()
    assert final[0].endswith("notebooks/c.ipynb stopped in cell 4: x = 1")
    assert final[1] == "ValueError: risk must lie in [0, 1]; found 1.37 at row 17"
    assert final[2].endswith("runs/default/notebooks/c.ipynb")
    assert "ValueError" in (project.out / "notebooks" / "c.ipynb").read_text()
    assert not (project.out / "interim" / "c.txt").exists()

    project.notebook("c", WRITE, "put('c.txt', 'mended')")
    status, said = project.reproduce()
    assert status == 0 and said.count("starts") == 1


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_run_goes_on(project):
    project.rules(A, SHORT_C)
    project.notebook("c", WRITE, "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")
    status, said = project.reproduce()
    final = said.split("failed\n")[-1].strip().splitlines()
    assert status == 1 and final[0] == "The disk is full that holds runs/default: free some space." and len(final) == 3
    project.notebook("c", WRITE, "put('c.txt', 'c')")
    status, said = project.reproduce()
    assert status == 0 and said.count("starts") == 1


def test_a_disk_so_full_that_the_log_is_cut_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "set_up", lambda *_: "python")
    monkeypatch.setattr(run.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    free = run.shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: free)
    with pytest.raises(run.Stop, match="The disk is full that holds .*: free some space"):
        run.study(tmp_path / "out", profile="default")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"given": 'run_dri="x"'}, [], "no parameter run_dri; expected one of"),
        ({"given": "run_dir=3"}, [], "run_dir is 3; expected a value of type str"),
        ({"horizon_months": 24}, [], "not horizon_months: statistical choices are made in"),
        ({"n_boot": 24}, [], "No notebook declares n_boot"),
        ({}, ["--cohort", "nowhere", "--out", "out"], "nowhere/cohort.yaml is missing"),
        ({}, ["--cohort", "old", "--out", "out"], "old has errors, so nothing was run: out/doctor/doctor.html"),
        ({}, ["--cohort", "wrong", "--out", "out"], "The cohort folder: 2 errors, 2 warnings."),
        ({}, ["--cohort", "bare", "--out", "out"], "bare has errors, so nothing was run: out/doctor/doctor.html"),
        ({}, ["--cohort", "bare"], "--cohort needs --out"),
        ({}, ["--profile", "nowhere"], "There is no profile nowhere; there are default."),
        ({}, ["--cohort", "a {brace}", "--out", "out"], "holds a brace, which Snakemake takes for a pattern: rename"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(project, change, words, message):
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    for name in ("old", "bare", "wrong", "a {brace}"):
        (project.root / name).mkdir()
        kind = "SYNTHETIC" if name == "a {brace}" else "COHORT"  # generated patients are not checked
        (project.root / name / "cohort.yaml").write_text(f"name: Here\nclass: {kind}\n")
        frame = table[table["cohort"] == ("validation" if name == "old" else "primary")].copy()
        frame.iloc[1, frame.columns.get_loc("time_months")] = "-5" if name == "wrong" else "40.5"
        frame.to_csv(project.root / name / "clinical.csv", index=False)
    project.rules(rule("a", writes=['"interim/c.txt"'], given=change.pop("given", "")))
    project.profile(**change)
    status, said = project.reproduce(*words)
    assert status == 1 and message in said
    assert "starts" not in said and "Traceback" not in said and len(said) < 600


ODD = 'Süd\'s "Kohorte" 100% u\u0308 \u4e0a\u6d77 $HOME; &'  # composed and decomposed letters, and what a shell reads


@pytest.mark.slow
def test_folders_may_have_any_name_and_nobody_needs_a_home(project, monkeypatch):
    own = project.root / ODD
    own.mkdir()
    (own / "cohort.yaml").write_text("name: Here\nclass: SYNTHETIC\n")
    shutil.copy(ROOT / "data_synthetic" / "clinical.csv", own)
    project.rules(rule("a", reads=['f"{COHORT}/clinical.csv"'], writes=['"interim/a.txt"']), SHORT_C)
    for name in ("USER", "LOGNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(project.root / "no home"))
    project.notebook("a", WRITE, "put('a.txt', cohort_dir)")
    out = project.root / f"{ODD} {{run}}"
    status, said = project.reproduce("--cohort", ODD, "--out", out.name)
    assert status == 0 and said.count("starts") == 2, said
    assert (out / "interim" / "a.txt").read_text().endswith(ODD) and not (project.root / "no home").exists()
    status, said = project.reproduce("--cohort", ODD, "--out", out.name)
    assert status == 0 and "nothing to do" in said and "starts" not in said


@pytest.mark.slow
def test_a_table_that_changes_while_it_is_read_is_read_again(project):
    project.rules(A, SHORT_C)
    save = "p = resolve(cohort_dir) / 'clinical.csv'\n"
    save += "old = p.read_text()\nif 'P3' not in old:\n    _ = p.write_text(old + 'P3,primary\\n')"
    project.notebook("a", WRITE, save, "put('a.txt', old)")
    status, said = project.reproduce()
    assert status == 1 and "data_synthetic/clinical.csv was changed while it was read." in said
    assert not (project.out / "interim" / "a.txt").exists()
    assert project.reproduce()[0] == 0 and "P3" in (project.out / "interim" / "a.txt").read_text()


@pytest.mark.slow
def test_a_clock_that_was_ahead_hides_no_change_and_loses_nothing(project):
    project.rules(A, SHORT_C)
    tomorrow, table = time.time() + 86_400, project.root / "data_synthetic" / "clinical.csv"
    os.utime(table, (tomorrow, tomorrow))
    status, said = project.reproduce()
    assert status == 1 and "data_synthetic/clinical.csv is dated in the future" in said and "starts" not in said
    table.touch()
    assert project.reproduce()[0] == 0
    for path in (*project.out.glob("interim/*.txt"), *project.out.glob("notebooks/*.ipynb")):
        os.utime(path, (tomorrow, tomorrow))
    project.notebook("c", WRITE, "put('c.txt', 'changed')")
    status, said = project.reproduce()
    assert status == 0 and said.count("starts") == 1 and (project.out / "interim" / "c.txt").read_text() == "changed"
    status, said = project.reproduce()
    assert status == 0 and "nothing to do" in said and "starts" not in said


@pytest.mark.slow
def test_the_last_stage_stops_a_run_that_names_a_patient(project):
    import test_doctor

    own = project.root / "own"
    own.mkdir()
    (own / "cohort.yaml").write_text("name: Here\nclass: COHORT\n")
    table = test_doctor.table().assign(patient_id=[f"H1-00{n}" for n in range(16)])
    table.to_csv(own / "clinical.csv", index=False)
    for number, patient in enumerate(table["patient_id"]):
        test_doctor.write_patient(own / "images" / patient, number)
    save = "for name, text in {'results/a.json': '{\"inputs\": {}, \"entries\": {}}', 'tables/x.csv': who}.items():\n"
    save += "    (resolve(run_dir) / name).write_text(text)"
    shown = ['"results/a.json"', '"tables/x.csv"']
    look = rule("private", function="dlrs_site.privacy.stage", reads=shown, writes=['"interim/privacy.json"'])
    first = rule("a", reads=['f"{COHORT}/clinical.csv"'], writes=['"interim/a.txt"', *shown])
    project.rules(first, look, last='"interim/privacy.json"')
    for who, passes in {"row 17": True, "H1-0015": False}.items():
        project.notebook("a", WRITE, "put('a.txt', 'a')", f"who = {who!r}", save)
        status, said = project.reproduce("--cohort", "own", "--out", "out")
        assert (status == 0) == passes, said
        assert "The cohort folder: 0 errors, 4 warnings." in said
    assert "tables/x.csv: a patient's identifier" in said and "H1-0015" not in said
    assert (project.root / "out" / "doctor" / "doctor.html").is_file()


def test_bands_train_at_several_seeds_on_the_default_runs_boxes(run, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    with pytest.raises(run.Stop, match="runs/default is not complete"):
        run.bands(argparse.Namespace(seeds=2, cores=1))
    (tmp_path / "runs" / "default").mkdir(parents=True)
    (tmp_path / "runs" / "default" / "results.json").write_text("{}")
    calls = []
    monkeypatch.setattr(run, "study", lambda run_dir, **settings: calls.append((run_dir.name, settings)))
    assert run.bands(argparse.Namespace(seeds=2, cores=1)) == 0
    assert calls == [("bands", {"profile": "default", "cores": 1, "part": "seeds", "seeds": 2})]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run.py", "snakemake"])
def test_a_killed_run_leaves_nothing_behind_and_goes_on(project, victim):
    running = project.start()
    project.wait_for("notebooks/b_X.ipynb")
    status, said = project.reproduce()
    assert status == 1 and f"runs/default is in use by another run (process {running.pid})" in said

    pids = {"run.py": running.pid, "snakemake": None}
    for pid in project.processes():
        with contextlib.suppress(OSError):
            if b"-m\0snakemake" in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids["snakemake"] = pid
    os.kill(pids[victim], signal.SIGKILL)
    running.communicate(timeout=60)
    end = time.monotonic() + 20
    while project.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert not project.processes()
    assert not (project.out / "interim" / "X").exists()

    status, said = project.reproduce()
    assert status == 0, said
    assert "a  starts" not in said and "b_X  starts" in said and "c  done" in said
    assert (project.out / "interim" / "c.txt").read_text() == "c"
    assert not [path.name for path in (project.out / "interim").iterdir() if path.name.startswith(".partial")]


@pytest.mark.slow
def test_the_nomograms_page_is_made_again_when_the_model_changes(project):
    reads, function = ['"interim/nomogram.json"', '"interim/predictions.csv"'], "dlrs_run.stages.nomogram_page"
    project.rules(rule("page", function=function, reads=reads, writes=['"nomogram.html"']), last='"nomogram.html"')
    scale = {"label": "CEA", "variable": "cea", "position": [0, 1], "text": ["Normal", "Elevated"]}
    model = {"class": "SYNTHETIC", "cutoff_risk": 0.25, "horizon_months": 36.0, "points_per_lp": 100.0}
    model |= {
        "effects": {"cea": {"Normal": 0.0, "Elevated": 1.0}},
        "scales": [scale],
        "points_end": 100.0,
        "total_points_end": 100.0,
    }
    model |= {"baseline": {"time": [1.5, 40.2], "cumulative_hazard": [0.1, 0.2]}, "seen": {}}
    (project.out / "interim").mkdir(parents=True)
    (project.out / "interim" / "predictions.csv").write_text("cohort,risk_Nomogram\n" + "primary,0.125\n" * 5)
    for cutoff, again in ((0.25, "done"), (0.25, "nothing to do"), (0.375, "done")):
        (project.out / "interim" / "nomogram.json").write_text(json.dumps(model | {"cutoff_risk": cutoff}))
        status, said = project.reproduce()
        assert status == 0 and again in said and ("starts" in said) == (again == "done"), said
        assert f'"cutoff_risk": {cutoff}' in (project.out / "nomogram.html").read_text()


# ---------------------------------------------------------------- the study's own graph and profiles


def graph(part: str, run_dir: Path, *settings: str, targets=(), profile="default") -> str:
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "--nolock"]
    command += ["--directory", str(run_dir), "--workflow-profile", str(ROOT / "profiles" / profile)]
    run_dir.mkdir(parents=True, exist_ok=True)
    command += ["--cores", "2", "--dry-run", "--config", f"part={part}", *settings]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def jobs(planned: str) -> set[tuple[str, ...]]:
    """The jobs of a dry run: rule, folder below the run, and what else tells it from others of the rule."""
    found = re.findall(r"^rule (\S+):\n(.*?)(?=^\[|\Z)", planned, re.MULTILINE | re.DOTALL)
    wildcards = [re.search(r"^    wildcards: (.*)$", text, re.MULTILINE) for _, text in found]
    values = [[pair.split("=", 1)[1] for pair in one[1].split(", ")] if one else [] for one in wildcards]
    return {(name, *filter(None, of)) for (name, _), of in zip(found, values, strict=True)} - {("all",)}


def finished(root: Path) -> Path:
    """A run's folder with the files, empty, that the controls start from."""
    interim = ("study.json", "patients.csv", "boxes.csv", "dl_prob.csv", "predictions.csv", "nomogram.json")
    names = [f"interim/{name}" for name in interim]
    names += ["models/T2W/model.safetensors", "models/ADC/model.safetensors", "results.json"]
    names += [f"results/{name}.json" for name in ("04_signature", "05_nomogram", "06_evaluation")]
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "interim" / "dl_prob.csv").write_text("patient_id,dl_prob,dl_prob_oof\n")
    (root / "interim" / "prob_T2W.csv").touch()
    return root


STATISTICS = {"audit", "intake", "cohort", "signature", "nomogram", "nomogram_page"}
STATISTICS |= {"evaluation", "deviations", "subgroups"}
IMAGES_ONLY = {"boxes", "boxes_again", "train", "train_again", "robustness"}  # not repeated for how numbers are shown
# The phantoms' rendering, unless an earlier run of this checkout did it.
IMAGES = set() if (ROOT / "data_synthetic/images/manifest.json").is_file() else {("images",)}
TRAINED = {("textures", "1"), ("boxes",), ("train", "T2W"), ("train", "ADC"), ("join",)}
AGAIN = {("boxes_again",), ("train_again", "T2W"), ("train_again", "ADC")}


def below(folder: str, jobs: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    return {(rule, folder, *more) for rule, *more in jobs}


def test_the_controls_are_stages_of_their_own_and_a_question_can_be_asked_alone(tmp_path):
    base = f"base_dir={finished(tmp_path / 'base')}"
    planned = jobs(graph("validity", tmp_path / "all", base))
    controls = [*(f"permuted-{n}" for n in range(1, 11)), "shuffled", "mask"]
    signals = ["signal-0", "signal-0.25", "signal-0.5"]
    expected = {("control", name) for name in controls} | {("control_images", name) for name in signals}
    expected |= {("control_joined", name) for name in controls + signals}
    for name in controls + signals:
        again = AGAIN if name in signals else AGAIN - {("boxes_again",)}
        expected |= below(f"interim/controls/{name}/", again)
    alone = {(name,) for name in ("null_simulation", "interval_coverage", "answer", "pages", "results")}
    others = ("signal_dial", "cross_fitting", "negative_controls", "calibration_optimism", "multiverse_null")
    assert planned == expected | alone | {(name,) for name in (*others, "centre")} | {("textures", "1")}
    assert jobs(graph("validity", tmp_path / "one", base, "only=null,coverage")) == alone


def test_each_seed_is_the_study_trained_again_in_a_folder_of_its_own(tmp_path):
    planned = graph("seeds", tmp_path / "run", "seeds=2", f"base_dir={finished(tmp_path / 'base')}")
    trained = {("seed",), ("train", "T2W"), ("train", "ADC"), ("join",)}
    judged = {("signature",), ("nomogram",), ("evaluation",), ("results",)}
    backbones = {("textures", "2"), ("textures", "3")}
    assert jobs(planned) == backbones | below("seed-1/", trained | judged) | below("seed-2/", trained | judged)


def test_every_part_makes_the_stages_that_it_is_for(tmp_path, planned):
    last = {("results",), ("comparison",), ("report",)}
    judged = {(name,) for name in STATISTICS}
    assert jobs(graph("statistics", tmp_path / "statistics")) == judged | last | {("frozen",)}
    main = judged | last | TRAINED | IMAGES | {("pages",)}
    assert jobs(graph("main", tmp_path / "main")) == main
    sizes = set().union(*(below(f"interim/branches/size_{size}/", AGAIN) for size in (56, 84)))
    again = below("interim/branches/own_again/", AGAIN - {("boxes_again",)}) | {("again",), ("textures", "2")}
    assert jobs(planned) == main | sizes | again | {("branches",), ("robustness",)}
    choices = "all_slices_with_ROI", "z-score_over_the_whole_box", "voxels_outside_the_ROI_set_to_0"
    choices = {f"interim/branches/{name}/" for name in (*choices, "one_network,_stopped_early,_as_published")}
    found = jobs(graph("alternatives", tmp_path / "alternatives"))
    assert found == main | set().union(*(below(at, AGAIN) for at in choices)) | {("branches",), ("alternatives",)}
    found = jobs(graph("validate", tmp_path / "validate", f"model_dir={a_release(tmp_path / 'model')}"))
    applied = {("predict", "T2W"), ("predict", "ADC"), ("apply",), ("external_validation",), ("join",), ("boxes",)}
    shared = ("intake", "cohort", "evaluation", "subgroups", "pages")
    assert found == applied | last | IMAGES | {(name,) for name in shared}


def test_a_trial_runs_first_stage_makes_its_cohort_and_planning_it_writes_nothing(tmp_path):
    found = jobs(graph("all", tmp_path / "trial", profile="smoke"))
    assert {("trial_cohort",), ("images",), ("train_again", "interim/branches/size_56/", "ADC")} <= found
    assert {path.name for path in (tmp_path / "trial").iterdir()} == {".snakemake"}


def test_planning_opens_no_image_of_a_hospital_and_a_last_stage_looks_for_names(tmp_path):
    import test_doctor

    own = tmp_path / "own"
    own.mkdir()
    (own / "cohort.yaml").write_text("name: Here\nclass: COHORT\n")
    table = test_doctor.table()
    table.to_csv(own / "clinical.csv", index=False)
    images = [own / "images" / patient / "t2w.nii.gz" for patient in table["patient_id"]]
    for path in images:
        path.parent.mkdir(parents=True)
        os.mkfifo(path)  # whoever opens it waits for ever
    planned = graph("all", tmp_path / "run", f"cohort_dir={own}")
    assert ("private",) in jobs(planned) and ("images",) not in jobs(planned)
    assert "report.html" in planned.split("rule private:")[1].split("output:")[0]


LAST_OF = {"fig": 4, "figS": 6, "table": 2, "tableS": 3}  # as the paper numbers them
ITEMS = [f"{kind}{number}" for kind, last in LAST_OF.items() for number in range(1, last + 1)]


def test_what_the_paper_shows_can_be_asked_for_by_its_name_and_no_more_is_made(tmp_path):
    known = graph("all", tmp_path / "all", targets=["--list-target-rules"]).split()
    assert set(ITEMS) | {"fig3b", "04_signature", "10_report"} <= set(known)
    trained = {("intake",), ("cohort",), *TRAINED, *IMAGES}
    found = jobs(graph("all", tmp_path / "fig2", targets=["fig2"]))
    assert found - {("fig2",)} == trained | {("signature",)}
    found = jobs(graph("all", tmp_path / "several", targets=["tableS1", "03_train_ADC"]))
    assert found - {("tableS1",), ("03_train_ADC",)} == trained - {("train", "T2W"), ("join",)}


def test_a_stage_runs_again_when_a_room_changes_that_its_notebook_imports_from(planned):
    for name, text in re.findall(r"^rule (\S+):\n(.*?)(?=^\[)", planned, re.MULTILINE | re.DOTALL):
        sources = text.split("input: ")[1].split("\n")[0].split(", ")
        notebooks = [Path(path) for path in sources if path.endswith(".ipynb")]
        if not notebooks or name in IMAGES_ONLY:
            continue
        cells = json.loads(notebooks[0].read_text(encoding="utf-8"))["cells"]
        tree = ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
            if node.module.startswith("dlrs"):
                room = ROOT / "src" / node.module.replace(".", "/")
                modules = [room / f"{imported.name}.py" for imported in node.names] if room.is_dir() else [f"{room}.py"]
                for module in modules:
                    assert str(module) in sources, f"{name} does not depend on {module}"


def a_release(root: Path) -> Path:
    """A release's folder that is whole, of a model that says nothing."""
    one = {
        "coefficients": {"dl_prob": 0.0},
        "means": {"dl_prob": 0.0},
        "baseline_survival": {"12": 1.0, "24": 1.0, "36": 1.0},
    }
    one["baseline"] = {"time": [0.0, 12.0, 24.0, 36.0], "cumulative_hazard": [0.0] * 4}
    box = {"interpolation": "bilinear", "zscore": "slice", "keep_outside_roi": True, "nonpositive_adc": 0.0}
    counts = {"learnt_from": 1, "held_out": 0, "metastasis": 0}
    manifest = {
        "format": release.FORMAT,
        "class": "SYNTHETIC",
        "cox": dict.fromkeys(release.MODELS, one),
        "horizon_months": 36.0,
    }
    manifest |= {
        "cutoffs": {"risk_Nomogram": 0.5, "dl_prob": 1.0},
        "trained_on": {"patients": 1, "metastases": 0, "T2W": counts, "ADC": counts},
        "preprocessing": {"box_size": 112, "n_slices": 20, **box},
        "performance": [],
        "versions": {},
    }
    (root / "T2W").mkdir(parents=True)
    (root / "ADC").mkdir()
    about = {"parameters": {"seed": 1, "threads": 1, "batch_size": 16, "weights": "textures"}}
    about |= {"network": {"layer": "Identity"}, "box_shape": [20, 112, 112]}
    nomogram = {"class": "SYNTHETIC", "cutoff_risk": 0.5, "horizon_months": 36.0, "effects": {}}
    (root / "nomogram.json").write_text(json.dumps(nomogram))
    (root / "MODEL_CARD.md").write_text("# A model")
    for name in release.EQUATION_FILES:
        (root / name).write_text(json.dumps(release._equation(manifest)))
    for name in release.SEQUENCES:
        weights = root / name / "model.safetensors"
        weights.write_bytes(b"no weights")
        (root / name / "model.json").write_text(json.dumps(about | {"weights_sha256": sha256(weights)}))
    manifest["files"] = {name: sha256(root / name) for name in release.FILES}
    (root / "model.json").write_text(json.dumps(manifest | {"sha256": release._digest(manifest)}))
    return root


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    return graph("all", tmp_path_factory.mktemp("plan"))


def outputs(planned: str) -> list[str]:
    lines = [line.split("output: ")[1] for line in planned.splitlines() if line.strip().startswith("output: ")]
    return [name for line in lines for name in line.split(", ")]


def test_every_notebook_has_a_stage_and_no_stage_writes_a_tracked_file(planned, tmp_path):
    for seed in range(1, 5):
        (tmp_path / "bands" / f"seed-{seed}").mkdir(parents=True)
        (tmp_path / "bands" / f"seed-{seed}" / "results.json").touch()
    folders = f"base_dir={finished(tmp_path / 'base')}", f"bands_dir={tmp_path / 'bands'}"
    planned += graph("validity", tmp_path / "validity", *folders)
    planned += graph("validate", tmp_path / "validate", f"model_dir={a_release(tmp_path / 'model')}")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        if notebook.stem in {room.NOTEBOOK for room in (evaluate, plan, universes)}:  # of commands outside the workflow
            continue
        assert f"{notebook}," in planned or f"{notebook}\n" in planned, f"{notebook.name} is in no stage"
    named = outputs(planned)
    inside = [str(Path(name).relative_to(ROOT)) for name in named if Path(name).is_relative_to(ROOT)]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(tracked.splitlines()) & set(inside) and "interim/dl_prob.csv" in named and "results.json" in named


def test_codecheck_yml_lists_every_output_that_the_paper_names(planned):
    named = {
        name for name in outputs(planned) if re.match(r"tables/(table|fig)S?\d\w*\.csv|figures/figS?\d\w*\.png", name)
    }
    manifest = yaml.safe_load((ROOT / "codecheck.yml").read_text(encoding="utf-8"))["manifest"]
    assert {entry["file"] for entry in manifest} == {f"reports/{name}" for name in named}
    for entry in manifest:
        kind, item = re.match(r".*/(table|fig)(S?\d[a-g]?)", entry["file"]).groups()
        assert entry["comment"].startswith(f"{'Table' if kind == 'table' else 'Fig.'} {item}, ")


def test_profiles_set_cost_and_place_only():
    text = (ROOT / "workflow" / "common.smk").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:TO_NOTEBOOKS|COST_AND_PLACE) = .*", text, re.MULTILINE)
    may_set = set(re.findall(r'"(\w+)"', "".join(lines)))
    assert {"box_sizes", "n_boot", "patients", "cohort_dir"} <= may_set
    statistical = {"horizon_months", "clinical_formula", "significance", "times_months", "seed", "population"}
    assert not may_set & statistical
    profiles = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml"))
    assert profiles == ["default", "paper", "slurm", "small", "smoke"]
    for path in (ROOT / "profiles").glob("*/parameters.yaml"):
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= may_set
    assert not (ROOT / "profiles" / "default" / "parameters.yaml").exists()


# ---------------------------------------------------------------- the study itself, small


def study(words: str, **environment) -> subprocess.CompletedProcess:
    """Call run.py's own functions on the environment that runs these tests."""
    start = f"import sys, run; from pathlib import Path; run.set_up = lambda *_: {sys.executable!r}; sys.exit({words})"
    return subprocess.run(
        [sys.executable, "-c", start], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )


# base64 of an embedded picture: letters of chance, among them now and then something like "P378"
PICTURE = re.compile(r'"image/png": "[^"]+"|base64,[A-Za-z0-9+/=\s]+')


def no_patient_is_named_in(folder: Path) -> None:
    public = [path for path in folder.rglob("*") if path.suffix in {".csv", ".html", ".json", ".ipynb", ".log", ".md"}]
    private = {folder / name for name in ("interim", "kept", "cohort", "models", ".snakemake")}
    for path in public:
        if not private & set(path.parents):
            text = PICTURE.sub("", path.read_text(encoding="utf-8"))
            assert not re.search(r"\bP\d{3}\b", text), f"{path} names a patient"


@pytest.mark.slow
def test_the_statistics_need_neither_torch_nor_what_reads_images(tmp_path):
    for name in ("torch", "torchvision", "monai", "nibabel", "pydicom", "highdicom"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text(f"raise ImportError('{name} is blocked')\n")
    out, cohort_dir = tmp_path / "run", tmp_path / "cohort"
    cohort_dir.mkdir()  # without the images that an earlier run of this checkout rendered
    for path in (ROOT / "data_synthetic").glob("*.*"):
        shutil.copy(path, cohort_dir)
    words = f"run.study(Path({str(out)!r}), profile='default', part='statistics', cohort_dir=Path({str(cohort_dir)!r}))"
    ran = study(words, PYTHONPATH=str(tmp_path / "blocked"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((out / "results_missing.json").read_text()) == []
    results = json.loads((out / "results.json").read_text())
    for key in ("table1.age.p", "fig1.auc.DL-prob.validation", "table2.cindex.Nomogram.validation", "fig4.pcr.n"):
        assert key in results
    no_patient_is_named_in(out)


@pytest.mark.parametrize(
    ("cohort", "change", "message"),
    [
        ("data_synthetic", {"format": 3}, "model.json: the release has format 3; expected 2 at most"),
        ("primary", None, "clinical.csv, column cohort: nobody is validation"),
    ],
)
def test_validate_refuses_a_wrong_release_or_cohort_before_anything_starts(tmp_path, cohort, change, message):
    model = a_release(tmp_path / "model")
    if change is not None:
        manifest = json.loads((model / "model.json").read_text())
        (model / "model.json").write_text(json.dumps(manifest | {"class": "COHORT"} | change))
    (tmp_path / "primary").mkdir()
    shutil.copy(ROOT / "data_synthetic" / "cohort.yaml", tmp_path / "primary")
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    table[table["cohort"] == "primary"].to_csv(tmp_path / "primary" / "clinical.csv", index=False)
    cohort = str(tmp_path / cohort if cohort == "primary" else ROOT / cohort)
    words = ["validate", "--model", str(model), "--cohort", cohort, "--out", str(tmp_path / "out")]
    ran = study(f"run.main({words})")
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1 and message in said
    assert "starts" not in said and "Traceback" not in said and len(said) < 500


NEVER = """
import importlib.abc, importlib.util, os, sys

FITS = {"dlrs.stats.cox": "design", "dlrs.imaging.textures": "fit"}  # a refit starts from a formula's design
FITS["torch.optim.optimizer"] = "Optimizer.__init__"

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in FITS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def guarded(module):
            execute(module)
            *owner, attribute = FITS[name].split(".")
            def never(*_, **__):
                raise AssertionError(f"{name} fitted something")
            setattr(getattr(module, owner[0]) if owner else module, attribute, never)
            open(os.path.join(os.path.dirname(__file__), name), "w").close()

        spec.loader.exec_module = guarded
        return spec

sys.meta_path.insert(0, Finder())
"""


def second_track(run_dir: Path, copy: Path) -> Path:
    """Evaluate a run's second track in the place of its first one: its models are those that a release packs."""
    left_out = shutil.ignore_patterns("cohort", "boxes", "branches", "notebooks", ".snakemake")
    interim = shutil.copytree(run_dir, copy, ignore=left_out) / "interim"
    for name in ("predictions", "dl_prob"):
        table = pd.read_csv(interim / f"{name}.csv", dtype={"patient_id": str})
        second = table.filter(regex="_oof$")
        assert len(second.columns)
        table[second.columns.str.removesuffix("_oof")] = second.to_numpy()
        table.drop(columns=second.columns).to_csv(interim / f"{name}.csv", index=False)
    nomogram = json.loads((interim / "nomogram.json").read_text())
    (interim / "nomogram.json").write_text(json.dumps(nomogram | nomogram.pop("out_of_fold")))
    execute("06_evaluation", copy, n_boot=50)
    return copy


def a_release_gives_the_runs_numbers_again(run_dir: Path, tmp_path: Path) -> None:
    """Release a run and apply it to its own validation patients, in processes that cannot fit or train anything."""
    model, out, guard = tmp_path / "model", tmp_path / "validated", tmp_path / "guard"
    ran = study(f"run.main(['release', '--run', {str(run_dir)!r}, '--out', {str(model)!r}])")
    assert ran.returncode == 0 and release.load(model)["sha256"] in ran.stdout, ran.stdout + ran.stderr
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(NEVER)
    words = ["validate", "--model", str(model), "--cohort", str(run_dir / "cohort"), "--out", str(out)]
    words = f"run.main({[*words, '--profile', 'smoke', '--recalibrate']})"
    ran = study(words, PYTHONPATH=str(guard))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    guarded = {"dlrs.stats.cox", "torch.optim.optimizer"}  # what is not imported, as the textures, cannot fit
    assert guarded <= {path.name for path in guard.iterdir()}

    # A batch of other patients is summed in another order: probabilities agree to 1e-6, what ranks them exactly.
    run_dir, first = second_track(run_dir, tmp_path / "second"), run_dir
    read = [pd.read_csv(folder / "interim" / "predictions.csv").set_index("patient_id") for folder in (run_dir, out)]
    there, here = read[0].loc[read[1].index], read[1]
    assert set(here["cohort"]) == {"validation"} and len(here) == (read[0]["cohort"] == "validation").sum()
    for name, model_of in release.load(model)["cox"].items():
        largest = 1e-6 * sum(map(abs, model_of["coefficients"].values()))
        assert (here[f"lp_{name}"] - there[f"lp_{name}"]).abs().max() <= largest, name
    theirs, ours = entries(run_dir, "06_evaluation"), json.loads((out / "results.json").read_text())
    both = [
        key
        for key in ours
        if key.startswith(("table2", "cindex_comparison.", "fig3.")) and "validation" in str(ours[key])
    ]
    assert len(both) > 40
    for key in both:
        exact, value = key.startswith(("table2.cindex", "table2.uno_c", "table2.auc")), theirs[key]["value"]
        wanted = value if value is None or exact else pytest.approx(value, abs=1e-6, rel=0)
        assert ours[key]["value"] == wanted, key
    patients = cohort.read_patients(run_dir / "interim" / "patients.csv").set_index("patient_id").loc[here.index]
    high = there["risk_Nomogram"] > json.loads((model / "nomogram.json").read_text())["cutoff_risk"]
    down = (patients["ypn_stage"] == "ypN0") & patients["ypt_stage"].isin(["ypT0", "ypT1", "ypT2"])
    for name, members in {"downstaging": down, "non_downstaging": ~down}.items():
        assert [ours[f"fig4.{name}.{what}"]["value"] for what in ("n", "high_risk")] == [
            sum(members),
            sum(members & high),
        ]
    for name in ("logrank_p", "n_high"):
        value = entries(first, "04_signature")[f"fig2.{name}.validation_oof"]["value"]
        assert ours[f"external.cutoff.DLRS.{name}"]["value"] == pytest.approx(value, abs=1e-12)
    assert json.loads((out / "results_missing.json").read_text()) == []
    no_patient_is_named_in(out)

    # Recalibration was asked for, and yet all of the above are the study's numbers: it stands beside the model.
    versions = {entry["version"] for key, entry in ours.items() if key.startswith("external.ici")}
    assert versions == {"released", "new baseline", "new baseline and slope"}
    again = study(words, PYTHONPATH=str(guard))
    assert again.returncode == 0 and "nothing to do" in again.stdout and "starts" not in again.stdout


@pytest.mark.imaging
@pytest.mark.slow
def test_the_smoke_profile_runs_every_stage_and_then_nothing(tmp_path):
    run_dir = tmp_path / "run"
    words = f"run.main(['reproduce', '--profile', 'smoke', '--out', {str(run_dir)!r}])"
    ran = study(words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    executed = {path.stem for path in (run_dir / "notebooks").glob("*.ipynb")}
    assert {"01_cohort", "02_preprocessing", "03_train_T2W", "03_train_ADC", "07_subgroups"} <= executed
    assert json.loads((run_dir / "results_missing.json").read_text()) == []
    no_patient_is_named_in(run_dir)

    # Whatever lies in the run's folder belongs to a stage that would make it again, but for a table that notebook 06
    # writes where there are two tracks and takes away where there is one (test_tracks.py): no rule can know beforehand.
    made = [path for name in ("tables", "figures", "results") for path in (run_dir / name).iterdir()]
    planned = graph("all", tmp_path / "plan")
    with_svg = [path.with_suffix(".svg") if path.suffix == ".pdf" else path for path in made]  # written together
    unplanned = [path.name for path in with_svg if f"{path.parent.name}/{path.name}" not in planned]
    assert sorted(unplanned) == ["both_tracks.csv", "both_tracks.html"]

    again = study(words)
    assert again.returncode == 0 and "nothing to do" in again.stdout and "starts" not in again.stdout

    a_release_gives_the_runs_numbers_again(run_dir, tmp_path)
