"""The front door and the graph: on a small project of three notebooks, which runs the real run.py and Snakefile."""

import argparse
import ast
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dlrs import cohort
from dlrs.config import sha256
from dlrs_site import release

ROOT = Path(__file__).parents[1]
WRITE = """
from dlrs.config import resolve, whole_file

def put(name, text):
    with whole_file(resolve(run_dir) / "interim" / name) as partial:
        partial.write_text(text)
"""
STAGES = [
    {"name": "a", "reads": ["{cohort}/clinical.csv"], "writes": ["interim/a.txt"]},
    {
        "name": "b_X",
        "notebook": "b",
        "parameters": {"letter": "X"},
        "reads": ["interim/a.txt"],
        "writes": ["interim/X"],
        "keep": True,
    },
    {
        "name": "b_Y",
        "notebook": "b",
        "parameters": {"letter": "Y"},
        "reads": ["interim/a.txt"],
        "writes": ["interim/Y"],
        "keep": True,
    },
    {"name": "c", "reads": ["interim/X", "interim/Y"], "writes": ["interim/c.txt"]},
]


def load_run(root: Path):
    spec = importlib.util.spec_from_file_location("run", root / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run():
    return load_run(ROOT)


class Project:
    """A folder with run.py, the Snakefile and notebooks of its own, on the environment that runs these tests."""

    def __init__(self, root: Path):
        self.root, self.out = root, root / "runs" / "default"
        for folder in ("notebooks", "profiles/default", "data_synthetic"):
            (root / folder).mkdir(parents=True)
        for name in ("run.py", "Snakefile"):
            shutil.copy(ROOT / name, root / name)
        (root / "data_synthetic" / "cohort.yaml").write_text("class: SYNTHETIC\n")
        (root / "data_synthetic" / "truth.csv").write_text("patient_id\n")
        (root / "data_synthetic" / "clinical.csv").write_text("patient_id,cohort\nP1,primary\nP2,validation\n")
        (root / "profiles" / "default" / "config.yaml").write_text("configfile: parameters.yaml\n")
        start = f"import sys, run\nrun.set_up = lambda: {sys.executable!r}\nsys.exit(run.main(sys.argv[1:]))\n"
        (root / "start.py").write_text(start)
        self.profile()
        self.notebook("a", WRITE, "put('a.txt', 'a')")
        slow = "from time import sleep\nfrom tqdm import tqdm\nfor _ in tqdm(range(20), desc='epochs'):\n    sleep(0.1)"
        self.notebook("b", WRITE, slow, "put(letter, cohort_dir)", parameters='letter: str = "Z"  # which')
        self.notebook("c", WRITE, "put('c.txt', 'c')")

    def profile(self, stages=STAGES, **parameters):
        text = yaml.safe_dump({**parameters, "stages": stages})
        (self.root / "profiles" / "default" / "parameters.yaml").write_text(text)

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


def test_set_up_asks_uv_once_per_lock(run, monkeypatch, tmp_path):
    calls = []

    def uv(command, *, cwd, env):
        calls.append((command[1:], env["UV_PYTHON_DOWNLOADS"], Path(env["UV_PYTHON"]).is_file()))
        (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv" / "bin" / "python").write_text("")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    monkeypatch.setattr(run.subprocess, "run", uv)
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("first")
    assert run.set_up() == run.set_up() == str(tmp_path / ".venv" / "bin" / "python")
    assert calls == [(["sync", "--frozen", "--compile-bytecode"], "never", True)]
    (tmp_path / "uv.lock").write_text("second")
    run.set_up()
    assert len(calls) == 2


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


def test_what_a_later_stage_drops_is_neither_waited_for_nor_made_again(project):
    large = "interim/large.txt"  # as the volumes of a control of `validity`, which goes when its networks are trained
    first = {"name": "a", "writes": ["interim/a.txt", large], "dropped": [large]}
    project.profile([first, {"name": "c", "reads": ["interim/a.txt", large], "writes": ["interim/c.txt"]}])
    project.notebook("a", WRITE, "put('a.txt', 'a')\nput('large.txt', 'volumes')")
    drop = "large = resolve(run_dir) / 'interim' / 'large.txt'\nput('c.txt', large.read_text())\nlarge.unlink()"
    project.notebook("c", WRITE, drop)
    status, said = project.reproduce()
    assert status == 0, said
    assert (project.out / "interim" / "c.txt").read_text() == "volumes" and not (project.out / large).exists()
    status, said = project.reproduce()
    assert status == 0 and "nothing to do" in said and "starts" not in said


def test_a_failing_notebook_stops_with_its_path_cell_and_error(project):
    project.profile(STAGES[:1] + [{"name": "c", "reads": ["interim/a.txt"], "writes": ["interim/c.txt"]}])
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


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"stages": [{**STAGES[0], "parameters": {"run_dri": "x"}}]}, [], "no parameter run_dri; expected one of"),
        ({"stages": [{**STAGES[0], "parameters": {"run_dir": 3}}]}, [], "run_dir is 3; expected a value of type str"),
        ({"horizon_months": 24}, [], "not horizon_months: statistical choices are made in"),
        ({"n_boot": 24}, [], "No notebook declares n_boot"),
        ({}, ["--cohort", "nowhere", "--out", "out"], "nowhere/cohort.yaml is missing"),
        ({}, ["--cohort", "old", "--out", "out"], "old has errors, so nothing was run: out/doctor/doctor.html"),
        ({}, ["--cohort", "wrong", "--out", "out"], "The cohort folder: 2 errors, 1 warning."),
        ({}, ["--cohort", "bare", "--out", "out"], "bare has errors, so nothing was run: out/doctor/doctor.html"),
        ({}, ["--cohort", "bare"], "--cohort needs --out"),
        ({}, ["--profile", "nowhere"], "There is no profile nowhere; there are default."),
    ],
)
def test_bad_input_is_refused_before_anything_starts(project, change, words, message):
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    for name in ("old", "bare", "wrong"):
        (project.root / name).mkdir()
        (project.root / name / "cohort.yaml").write_text("name: Here\nclass: COHORT\n")
        frame = table[table["cohort"] == ("validation" if name == "old" else "primary")].copy()
        frame.iloc[1, frame.columns.get_loc("time_months")] = "-5" if name == "wrong" else "40.5"
        frame.to_csv(project.root / name / "clinical.csv", index=False)
    project.profile(**change)
    status, said = project.reproduce(*words)
    assert status == 1 and message in said
    assert "starts" not in said and "Traceback" not in said and len(said) < 600


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
    writes = ["interim/a.txt", "results/a.json", "tables/x.csv"]
    project.profile([{**STAGES[0], "writes": writes}])
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
    default = tmp_path / "runs" / "default"
    (default / "interim").mkdir(parents=True)
    for name in ("results.json", "interim/patients.csv", "interim/box.npy"):
        (default / name).write_text("made")
    calls = []
    monkeypatch.setattr(run, "study", lambda run_dir, **settings: calls.append((run_dir.name, settings)))
    assert run.bands(argparse.Namespace(seeds=2, cores=1)) == 0
    settings = {"profile": "default", "cores": 1, "part": "main"}
    assert calls == [(f"seed-{n}", settings | {"training_seed": n}) for n in (1, 2)]
    copy = tmp_path / "runs" / "bands" / "seed-2"
    assert (copy / "interim" / "box.npy").stat().st_ino == (default / "interim" / "box.npy").stat().st_ino
    assert (copy / "interim" / "patients.csv").stat().st_ino != (default / "interim" / "patients.csv").stat().st_ino
    assert not (copy / "results.json").exists()  # until the seed has numbers of its own


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


def test_the_nomograms_page_is_made_again_when_the_model_changes(project):
    reads, writes = ["interim/nomogram.json", "interim/predictions.csv"], ["nomogram.html"]
    project.profile([dict(name="page", function="dlrs_run.stages.nomogram_page", reads=reads, writes=writes)])
    scale = {"label": "CEA", "variable": "cea", "position": [0, 1], "text": ["Normal", "Elevated"]}
    model = {"class": "SYNTHETIC", "cutoff_risk": 0.25, "horizon_months": 36.0, "points_per_lp": 100.0}
    model |= {"effects": {"cea": {"Normal": 0.0, "Elevated": 1.0}}, "scales": [scale], "total_points_end": 100.0}
    model |= {"baseline": {"time": [1.5, 40.2], "cumulative_hazard": [0.1, 0.2]}}
    (project.out / "interim").mkdir(parents=True)
    (project.out / "interim" / "predictions.csv").write_text("cohort,risk_Nomogram\n" + "primary,0.125\n" * 5)
    for cutoff, again in ((0.25, "done"), (0.25, "nothing to do"), (0.375, "done")):
        (project.out / "interim" / "nomogram.json").write_text(json.dumps(model | {"cutoff_risk": cutoff}))
        status, said = project.reproduce()
        assert status == 0 and again in said and ("starts" in said) == (again == "done"), said
        assert f'"cutoff_risk": {cutoff}' in (project.out / "nomogram.html").read_text()


# ---------------------------------------------------------------- the study's own graph and profiles


def graph(part: str, run_dir: Path, *settings: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(run_dir)]
    command += ["--workflow-profile", str(ROOT / "profiles" / "default"), "--nolock", "--cores", "2", "--dry-run"]
    (run_dir / "logs").mkdir(parents=True)
    ran = subprocess.run([*command, "--config", f"part={part}", *settings], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def finished(root: Path) -> Path:
    """A run's folder with the files, empty, that the controls start from."""
    for name in ("patients.csv", "boxes.csv", "dl_prob.csv", "T2W/model.safetensors", "ADC/model.safetensors"):
        path = root / ("interim" if name.endswith("csv") else "models") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_the_controls_are_stages_of_their_own_and_a_question_can_be_asked_alone(tmp_path):
    base = f"base_dir={finished(tmp_path / 'base')}"
    planned = graph("validity", tmp_path / "all", base)
    for name in ("permuted-10_ADC", "fold-5_T2W", "signal-0.25_boxes", "mask_joined", "crossfit_06_evaluation", "null"):
        assert f"rule stage_{name}:" in planned
    alone = graph("validity", tmp_path / "one", base, "only=null,coverage")
    rules = set(re.findall(r"rule (stage_\S+):", alone))
    assert rules == {f"stage_{name}" for name in ("null", "coverage", "09_validity", "pages", "results")}


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
    manifest = {"format": 1, "class": "SYNTHETIC", "cox": dict.fromkeys(release.MODELS, one), "horizon_months": 36.0}
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
    about |= {"network": {"n_slices": 20, "dropout": 0.5}}
    nomogram = {"class": "SYNTHETIC", "cutoff_risk": 0.5, "horizon_months": 36.0, "effects": {}}
    (root / "nomogram.json").write_text(json.dumps(nomogram))
    (root / "MODEL_CARD.md").write_text("# A model")
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
    planned += graph("validity", tmp_path / "validity", f"base_dir={finished(tmp_path / 'base')}")
    planned += graph("validate", tmp_path / "validate", f"model_dir={a_release(tmp_path / 'model')}")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"{notebook}," in planned or f"{notebook}\n" in planned, f"{notebook.name} is in no stage"
    named = outputs(planned)
    inside = [str(Path(name).relative_to(ROOT)) for name in named if Path(name).is_relative_to(ROOT)]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(tracked.splitlines()) & set(inside) and "interim/dl_prob.csv" in named and "results.json" in named


def test_the_main_job_stops_at_the_main_papers_items(tmp_path):
    every, main = graph("all", tmp_path / "all"), graph("main", tmp_path / "main")
    supplement = ["stage_branches", "stage_03_train_ADC_size_56", "stage_08_image_robustness"]
    assert all(f"rule {name}:" in every and f"rule {name}:" not in main for name in supplement)
    assert "rule stage_07_subgroups:" in main and "figures/fig4.png" in main


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
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    may_set = ast.literal_eval(snakefile.split("COST_AND_PLACE = ")[1].split("\n")[0])
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
    start = f"import sys, run; from pathlib import Path; run.set_up = lambda: {sys.executable!r}; sys.exit({words})"
    return subprocess.run(
        [sys.executable, "-c", start], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )


def no_patient_is_named_in(folder: Path) -> None:
    public = [path for path in folder.rglob("*") if path.suffix in {".csv", ".html", ".json", ".ipynb", ".log", ".md"}]
    private = {folder / name for name in ("interim", "kept", "cohort", "models", ".snakemake")}
    for path in public:
        if not private & set(path.parents):
            text = re.sub(r'"image/png": "[^"]+"', "", path.read_text(encoding="utf-8"))
            assert not re.search(r"\bP\d{3}\b", text), f"{path} names a patient"


def test_the_statistics_need_no_torch(tmp_path):
    for name in ("torch", "torchvision", "monai"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text(f"raise ImportError('{name} is blocked')\n")
    out = tmp_path / "run"
    words = f"run.study(Path({str(out)!r}), profile='default', part='statistics')"
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
        ("data_synthetic", {"format": 2}, "model.json: the release has format 2; expected 1 at most"),
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

FITS = {"lifelines.fitters.coxph_fitter": "CoxPHFitter.fit", "dlrs.imaging.textures": "fit"}
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
    guarded = {"lifelines.fitters.coxph_fitter", "dlrs.imaging.textures", "torch.optim.optimizer"}
    assert guarded <= {path.name for path in guard.iterdir()}

    # A batch of other patients is summed in another order: probabilities agree to 1e-6, what ranks them exactly.
    read = [pd.read_csv(folder / "interim" / "predictions.csv").set_index("patient_id") for folder in (run_dir, out)]
    there, here = read[0].loc[read[1].index], read[1]
    assert set(here["cohort"]) == {"validation"} and len(here) == (read[0]["cohort"] == "validation").sum()
    for name, model_of in release.load(model)["cox"].items():
        largest = 1e-6 * sum(map(abs, model_of["coefficients"].values()))
        assert (here[f"lp_{name}"] - there[f"lp_{name}"]).abs().max() <= largest, name
    theirs, ours = (json.loads((folder / "results.json").read_text()) for folder in (run_dir, out))
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
    for name in ("fig2.logrank_p.validation", "fig2.n_high.validation"):
        mine = "external.cutoff.DLRS." + ("logrank_p" if "logrank" in name else "n_high")
        assert ours[mine]["value"] == pytest.approx(theirs[name]["value"], abs=1e-12)
    assert json.loads((out / "results_missing.json").read_text()) == []
    no_patient_is_named_in(out)

    # Recalibration was asked for, and yet all of the above are the study's numbers: it stands beside the model.
    versions = {entry["version"] for key, entry in ours.items() if key.startswith("external.ici")}
    assert versions == {"released", "new baseline", "new baseline and slope"}
    again = study(words, PYTHONPATH=str(guard))
    assert again.returncode == 0 and "nothing to do" in again.stdout and "starts" not in again.stdout


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

    # Whatever lies in the run's folder belongs to a stage that would make it again.
    made = [path for name in ("tables", "figures", "results") for path in (run_dir / name).iterdir()]
    planned = graph("all", tmp_path / "plan")
    assert not [path.name for path in made if f"{path.parent.name}/{path.name}" not in planned]

    again = study(words)
    assert again.returncode == 0 and "nothing to do" in again.stdout and "starts" not in again.stdout

    a_release_gives_the_runs_numbers_again(run_dir, tmp_path)
