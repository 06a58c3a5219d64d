"""One stage: which parameters are refused, what it depends on, what it shows and how its failure reads."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
from papermill import engines

from dlrs.config import ROOT, InputError
from dlrs_run import execute
from dlrs_site import intake
from executed import write_notebook


@pytest.fixture
def notebook(tmp_path):
    parameters = 'n_boot: int = 10  # resamples\nlevel: float = 0.95  # share\nname: str = "x"  # name\n'
    return write_notebook(tmp_path / "n.ipynb", "print(n_boot)", "1 / 0", parameters=parameters)


def test_parameters_are_read_from_the_notebook(notebook):
    assert execute.declared(notebook) == {"n_boot": "int", "level": "float", "name": "str"}
    execute.check_parameters(notebook, {"n_boot": 5, "level": 1, "name": "y"})  # a whole number is a float too


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_bot": 5}, r"n.ipynb: no parameter n_bot; expected one of n_boot, level, name. Did you mean n_boot\?"),
        ({"q": 5}, "no parameter q; expected one of n_boot, level, name. Correct the profile."),
        ({"n_boot": 0.5}, "n_boot is 0.5; expected a value of type int"),
        ({"n_boot": True}, "n_boot is True; expected a value of type int"),
        ({"name": 3}, "name is 3; expected a value of type str"),
    ],
)
def test_an_undeclared_parameter_or_another_type_is_refused(notebook, parameters, message):
    with pytest.raises(InputError, match=message):
        execute.check_parameters(notebook, parameters)


def test_a_stage_in_a_folder_of_its_own_reads_and_writes_there_under_a_name_of_its_own(tmp_path, monkeypatch, capsys):
    cells = ["from pathlib import Path", "Path(run_dir, 'made').write_text('')"]
    notebook = write_notebook(tmp_path / "n.ipynb", *cells, parameters='run_dir: str = ""  # folder')
    monkeypatch.chdir(tmp_path)
    assert execute.main([str(notebook), "--name", "interim/branches/b/n", "--run", str(tmp_path)]) == 0
    branch = tmp_path / "interim" / "branches" / "b"
    assert {path.name for path in branch.iterdir()} == {"made", "notebooks"}
    assert (branch / "notebooks" / "n.ipynb").is_file() and (tmp_path / "logs" / "n_b.log").is_file()
    assert "[1/1] n_b  done" in capsys.readouterr().out


def test_a_failure_names_notebook_cell_and_error(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [str(notebook), "--name", "n", "--run", "here", "--parameters", '{"n_boot": 7}']
    write_notebook(notebook, "print(n_boot)", "1 / 0", parameters='n_boot: int = 1  # n\nrun_dir: str = ""  # folder')
    assert execute.main(words) == 1
    said = (tmp_path / "logs" / "n.failed").read_text().splitlines()
    assert said[0].endswith("n.ipynb stopped in cell 3: 1 / 0")
    assert said[1] == "ZeroDivisionError: division by zero"
    assert "\n7\n" in (tmp_path / "logs" / "n.log").read_text()
    assert "[1/1] n  failed" in capsys.readouterr().out


def test_the_terminal_sees_a_bar_now_and_then_and_the_log_everything_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DLRS_STAGES", "first second")
    with contextlib.closing(execute.Stage("second", tmp_path)) as stage:
        stage.said -= 10
        for text in ("a line\n", "\repochs:  10%|#   | 1/10", "\repochs:  20%|##  | 2/10", "another\n"):
            stage.write(text)
    assert capsys.readouterr().out.splitlines() == ["[2/2] second  starts", "[2/2] second  epochs:  10%|#   | 1/10"]
    assert (tmp_path / "second.log").read_text() == "a line\nanother\n"


def test_a_process_ends_with_its_parent():
    # A parent starts a child that is to end with it, says the child's number, and is killed.
    child = (
        "import os, time; from dlrs_run.execute import die_with; die_with(os.getppid()); print('up'); time.sleep(60)"
    )
    parent = (
        f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-uc', {child!r}], stdout=subprocess.PIPE);"
        "c.stdout.readline(); print(c.pid, flush=True); c.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the child goes on")


def test_what_was_kept_is_put_back_as_long_as_contents_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("input", "output"):
        (tmp_path / name).write_text(name)

    def kept(**parameters):
        return execute.Kept(tmp_path / "kept" / "s", execute.fingerprint(["input"], parameters), ["output"])

    assert not kept(seed=1).put_back()
    kept(seed=1).keep()
    (tmp_path / "output").unlink()  # as Snakemake does before it runs a stage again
    (tmp_path / "input").touch()
    assert kept(seed=1).put_back() and (tmp_path / "output").read_text() == "output"
    assert not kept(seed=2).put_back()
    (tmp_path / "input").write_text("another")
    assert not kept(seed=1).put_back()


@pytest.mark.parametrize(("stage", "stays"), [("06_evaluation", False), ("publish", True)])
def test_the_page_of_an_earlier_run_does_not_outlive_its_numbers(tmp_path, monkeypatch, stage, stays):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("yesterday")
    assert execute.main(["dlrs_run.stages.nobody", "--name", stage, "--run", "."]) == 1
    assert (tmp_path / "report.html").exists() == stays


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_cohorts_notebook_and_log_show_no_counts_but_pictures(tmp_path, monkeypatch, shared):
    (tmp_path / "interim").mkdir()
    (tmp_path / "interim" / "study.json").write_text(json.dumps({"smallest_count": 5 * shared}))
    table = "import pandas as pd\npd.DataFrame({'n': [3]}, index=['cT4'])"
    picture = "from IPython.display import Image, display\nfrom PIL import Image as I\nimport io\nb = io.BytesIO()\n"
    picture += "I.new('L', (9, 9)).save(b, 'PNG')\ndisplay(Image(b.getvalue()))"
    cells = [table, "print('Here: 3 primary patients, horizon 36 months')", picture]
    notebook = write_notebook(tmp_path / "n.ipynb", *cells, parameters='run_dir: str = ""  # folder')
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(execute.Stage("n", tmp_path / "logs")) as stage:
        executed = tmp_path / "notebooks" / "n.ipynb"
        execute.run_notebook(notebook, executed, {"run_dir": str(tmp_path)}, stage)
    log, text = (path.read_text(encoding="utf-8") for path in (tmp_path / "logs" / "n.log", executed))
    assert ("cT4" in log) == ("3 primary patients" in log) == (not shared)
    outputs = json.dumps([cell["outputs"] for cell in json.loads(text)["cells"]])
    assert ("<td>3</td>" in outputs) == ("Here: 3 primary" in outputs) == (not shared)
    assert "image/png" in outputs and ("horizon 36 months" in outputs) == (not shared)
    assert ("counts are masked.\\n" in outputs) == ("see tables/" in outputs) == shared


def test_a_primary_cohort_alone_with_evil_names_passes_notebook_01_and_shares_no_small_count(tmp_path, monkeypatch):
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    primary = table[table["cohort"] == "primary"].replace(
        {"centre": {"A": "=cmd|' /C calc'!A0", "B": "<script>1</script>"}}
    )
    cohort, run = tmp_path / "cohort", tmp_path / "run"
    cohort.mkdir()
    primary.to_csv(cohort / "clinical.csv", index=False)
    (cohort / "cohort.yaml").write_text('name: "<script>2</script>"\nclass: COHORT\nshare: true\n')
    intake.stage(run, cohort)
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(execute.Stage("01", tmp_path / "logs")) as stage:
        notebook, executed = ROOT / "notebooks" / "01_cohort.ipynb", tmp_path / "notebooks" / "01.ipynb"
        execute.run_notebook(notebook, executed, {"run_dir": str(run), "cohort_dir": str(cohort)}, stage)
    for path in (run / "tables").iterdir():
        text = path.read_text(encoding="utf-8")
        assert (
            "<script" not in text if path.suffix == ".html" else not re.search(r"(^|,)\"?[=+@\t]", text, re.MULTILINE)
        )
    shown = pd.read_csv(run / "tables" / "table1.csv", dtype=str).set_index(["characteristic", "level"])
    assert shown.loc["tumor_location", "n"].to_dict() == {"High": "<5", "Mid": "100", "Low": "not shown"}
    assert shown["cohort"].eq("primary").all()
    entries = json.loads((run / "results" / "01_cohort.json").read_text(encoding="utf-8"))["entries"]
    assert entries["table1.tumor_location.levels.High.primary"]["value"] is None
    assert entries["table1.gender.levels.Male.primary"]["value"] == 121
    assert "<td>" not in executed.read_text(encoding="utf-8") and not (tmp_path / "logs" / "01.log").read_text()


def test_the_executed_notebook_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(engines, "write_ipynb", lambda notebook, path: written.append(path))
    notebook = write_notebook(tmp_path / "n.ipynb", *["1"] * 9, parameters='run_dir: str = ""  # folder')
    monkeypatch.chdir(tmp_path)
    assert execute.main([str(notebook), "--name", "n", "--run", "."]) == 0
    assert 2 <= len(written) <= 4  # its start, its end; papermill's own way: 22


def test_what_outlives_its_parent_is_interrupted_and_may_cancel_its_jobs(tmp_path):
    """As Snakemake does on a cluster, where jobs have another parent: they would write on after `run.py` was killed."""
    child = "import os, sys, time\nfrom dlrs_run.execute import die_with\ndie_with(os.getppid(), grace=20)\n"
    child += "print('ready', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
    child += f"    open({str(tmp_path / 'cancelled')!r}, 'w').close()\n"
    parent = "import signal, subprocess, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as in a background
    parent += f"subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "ready\n"
        running.kill()
        assert running.stdout.read() == ""  # closed when the child has ended too
    assert (tmp_path / "cancelled").exists()
