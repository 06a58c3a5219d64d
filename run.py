#!/usr/bin/env python3
"""The study's one front door. Needs git, Python 3.11 to 3.13 and pip; sets up everything else itself."""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PARTS = ("all", "main", "alternatives")
AGAIN = "What is done is kept: the same command goes on from there."


class Stop(Exception):
    """The command cannot go on; the message says why and what to do."""


# ---------------------------------------------------------------- set-up


def find_uv() -> str:
    """Return uv's path; fetch it with pip into .tools when the machine has none."""
    fetched = ROOT / ".tools" / "bin" / "uv"
    found = shutil.which("uv") or (str(fetched) if fetched.is_file() else None)
    if found:
        return found
    print("Fetching uv into .tools", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    if subprocess.run([*pip, str(ROOT / ".tools"), "uv"]).returncode or not fetched.is_file():
        raise Stop("pip could not fetch uv: see above. With uv on the PATH this step is not needed.")
    return str(fetched)


def set_up() -> str:
    """Bring .venv to what uv.lock says and return its Python; costs nothing when it is there already."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise Stop(f"Python 3.11, 3.12 or 3.13 is needed; this is {sys.version.split()[0]}.")
    python, stamp = ROOT / ".venv" / "bin" / "python", ROOT / ".venv" / "set-up"
    wanted = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "uv.lock"):
        wanted.update((ROOT / name).read_bytes())
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted.hexdigest():
        return str(python)
    print("Setting up .venv from uv.lock (some 5 GB the first time)", flush=True)
    # The interpreter that runs this file, since uv's own download of one may be blocked.
    interpreter = getattr(sys, "_base_executable", sys.executable)
    environment = {**os.environ, "UV_PYTHON": interpreter, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    # Compiled once here: where Python may not write bytecode, every notebook would compile its imports again.
    if subprocess.run([find_uv(), "sync", "--frozen", "--compile-bytecode"], cwd=ROOT, env=environment).returncode:
        raise Stop("uv could not set up .venv: see above. Run the same command again once that is mended.")
    stamp.write_text(wanted.hexdigest())
    return str(python)


def call(*command: str, cwd: Path | None = ROOT) -> int:
    """Run a module of the locked environment in the repository's root, or where the user is; return its exit status."""
    return subprocess.run([set_up(), "-m", *command], cwd=cwd).returncode


def environment_yml() -> str:
    """Return environment.yml: the lock's versions for conda's users, below pip since the lock speaks of wheels."""
    export = [find_uv(), "export", "--frozen", "--no-hashes", "--no-header", "--no-annotate", "--no-emit-project"]
    pins = subprocess.run(export, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    head = "# Written by `python3 run.py environment` from uv.lock; change that file, not this one.\n"
    head += "name: dlrs\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - -e .\n"
    return head + "".join(f'      - "{pin}"\n' for pin in pins)


# ---------------------------------------------------------------- the study


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def alone(run_dir: Path) -> Iterator[int]:
    """Hold a run's folder; a second run on it is refused.

    The lock belongs to the open file, which Snakemake inherits: when this
    process is killed, the folder stays held until Snakemake has ended too.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / ".lock", "a+") as lock:
        for attempt in range(300):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip()
            if alive(holder):
                raise Stop(f"{shown(run_dir)} is in use by another run (process {holder}). Wait for it or stop it.")
            if attempt == 0:
                print(f"Waiting for what a killed run left behind in {shown(run_dir)} to end", flush=True)
            time.sleep(0.2)
        else:
            raise Stop(f"{shown(run_dir)} is still held by what a killed run left behind. Stop it, then try again.")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def study(
    run_dir: Path, *targets: str, profile: str, cores: int | None = None, force: bool = False, **settings
) -> None:
    """Run the stages that are not done yet, or those that the targets need; their files lie below `run_dir`."""
    options = ROOT / "profiles" / profile / "config.yaml"
    if not options.is_file():
        known = ", ".join(sorted(path.parent.name for path in options.parents[1].glob("*/config.yaml")))
        raise Stop(f"There is no profile {profile}; there are {known}.")
    elsewhere = bool(re.search(r"^executor:", options.read_text(encoding="utf-8"), re.MULTILINE))
    python = set_up()
    command = [python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(run_dir)]
    command += [*targets, "--workflow-profile", str(options.parent), "--rerun-incomplete"]
    command += ["--nolock"]  # `alone` is the lock
    command += ["--cores", str(cores or "all")] if cores or not elsewhere else []
    command += ["--forceall"] if force else []
    command += ["--config", *(f"{name}={value}" for name, value in settings.items() if value is not None)]
    environment = {**os.environ, "DLRS_PARENT": str(os.getpid())}
    started = time.monotonic()
    with alone(run_dir) as lock:
        logs = run_dir / "logs"
        logs.mkdir(exist_ok=True)
        for old in (*logs.glob("*.failed"), logs / "refused"):
            old.unlink(missing_ok=True)
        with open(logs / "snakemake.log", "w", encoding="utf-8") as log:
            # The stages speak for themselves on standard output; elsewhere only Snakemake hears them.
            stderr = None if elsewhere else log
            status = subprocess.run(command, stderr=stderr, env=environment, pass_fds=[lock]).returncode
        said = (logs / "snakemake.log").read_text(encoding="utf-8")
        if status:
            # `refused` comes from the Snakefile, before anything started; the others from a stage each.
            refused = logs / "refused"
            if refused.exists():
                raise Stop(refused.read_text(encoding="utf-8"))
            why = [path.read_text(encoding="utf-8") for path in sorted(logs.glob("*.failed"))]
            if not why:
                last = [line[:300] for line in said.strip().splitlines()[-15:]]
                why = [f"Snakemake was ended by signal {-status}."] if status < 0 else ["Snakemake failed.", *last]
            raise Stop("\n".join([*why, "", AGAIN]))
    done = "nothing to do" if "Nothing to be done" in said else f"done in {time.monotonic() - started:.0f} s"
    print(f"{shown(run_dir)}: {done}; tables/, figures/, results.json and the executed notebooks/ are in it.")


def statistics(*, cores: int | None = None, force: bool = False) -> Path:
    run_dir = ROOT / "runs" / "statistics"
    study(run_dir, profile="default", cores=cores, force=force, part="statistics")
    return run_dir


def examine(cohort: Path, pages: Path) -> None:
    """Check a hospital's folder, once as long as it stays the same; its errors stop everything that would follow.

    Generated patients are not checked, nor what is no cohort folder, which is refused further on.
    """
    if not (cohort / "cohort.yaml").is_file():
        return
    if call("dlrs_site.doctor", "check", str(cohort), "--out", str(pages), "--once"):
        page = pages / "doctor.html"
        where = f"{shown(page)} lists them with their remedies; it may name patients" if page.is_file() else "see above"
        raise Stop(f"{shown(cohort)} has errors, so nothing was run: {where}. Warnings would not stop it.")


# ---------------------------------------------------------------- commands


def reproduce(asked) -> int:
    """the whole study: cohort, images, training, every notebook, table and figure"""
    own = asked.cohort is None and asked.out is None and asked.profile == "default"
    if asked.cohort and not asked.out:
        raise Stop("--cohort needs --out FOLDER: the folder that everything is written to.")
    run_dir = Path(asked.out).resolve() if asked.out else ROOT / "runs" / asked.profile
    cohort = Path(asked.cohort).resolve() if asked.cohort else None
    if cohort:
        examine(cohort, run_dir / "doctor")
    part, targets = (asked.job, []) if asked.job in PARTS else ("all", [asked.job])
    settings = {"part": part, "cohort_dir": cohort, "publish": (own and asked.job == "all") or None}
    study(run_dir, *targets, profile=asked.profile, cores=asked.cores, **settings)
    return 0


def only_statistics(asked) -> int:
    """the statistics alone, from the committed dl_prob.csv; needs no torch"""
    statistics(cores=asked.cores)
    return 0


def test(asked) -> int:
    """ruff, notebook hygiene and pytest; what follows -- goes to pytest"""
    notebooks = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))
    status = {
        "ruff check": call("ruff", "check", "."),
        "ruff format": call("ruff", "format", "--check", "."),
        "nbstripout": call("nbstripout", "--verify", "--keep-id", *notebooks) if notebooks else 0,
        "pytest": call("pytest", "-n", "2", *asked.rest),
    }
    failed = [name for name, code in status.items() if code]
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return int(bool(failed))


def check(asked) -> int:
    """rerun the statistics and compare every number with reports/expected.json"""
    run_dir = statistics(cores=asked.cores, force=True)
    return call("dlrs_run.expected", "check", str(run_dir), str(ROOT / "runs" / "default"))


def accept(asked) -> int:
    """take the default run's dl_prob.csv and today's numbers as the expected ones"""
    call("dlrs_run.expected", "freeze", str(ROOT / "runs" / "default"))
    run_dir = statistics(cores=asked.cores, force=True)
    bands = sorted(str(path) for path in (ROOT / "runs" / "bands").glob("seed-*")) if asked.bands else []
    return call("dlrs_run.expected", "accept", str(run_dir), *bands)


def bands(asked) -> int:
    """train the default study at several seeds, for `accept --bands`"""
    default = ROOT / "runs" / "default"
    if not (default / "results.json").is_file():
        raise Stop("runs/default is not complete: run `python3 run.py reproduce` first; its images are used again.")
    study(ROOT / "runs" / "bands", profile="default", cores=asked.cores, part="seeds", seeds=asked.seeds)
    return 0


def validity(asked) -> int:
    """what the design would find had the images known nothing: controls, simulated studies, notebook 09"""
    if not (ROOT / "runs" / "default" / "results.json").is_file():
        raise Stop("runs/default is not complete: run `python3 run.py reproduce` first; the controls start from it.")
    full = asked.profile == "default"
    questions = asked.only.split(",") if asked.only else []
    if full and asked.seeds and (not questions or "seeds" in questions):
        bands(asked)
    run_dir = ROOT / "runs" / ("validity" if full else f"validity-{asked.profile}")
    only = asked.only or None
    study(run_dir, profile=asked.profile, cores=asked.cores, part="validity", only=only, publish=full or None)
    return 0


def release(asked) -> int:
    """pack a finished run's model, without any patient, to be applied elsewhere: [--run FOLDER] --out FOLDER"""
    return call(
        "dlrs_site.release", str(Path(asked.run or ROOT / "runs" / "default").resolve()), str(Path(asked.out).resolve())
    )


def validate(asked) -> int:
    """apply a released model to a cohort folder, refitting nothing: --model FOLDER --cohort FOLDER --out FOLDER"""
    place = {"cohort_dir": Path(asked.cohort).resolve(), "model_dir": Path(asked.model).resolve()}
    beside = {"recalibrate": asked.recalibrate or None}
    examine(place["cohort_dir"], Path(asked.out).resolve() / "doctor")
    study(Path(asked.out).resolve(), profile=asked.profile, cores=asked.cores, part="validate", **place, **beside)
    return 0


def cohort(asked) -> int:
    """make a synthetic cohort folder: --seed N --signal S --out FOLDER"""
    return call("dlrs.synthetic.cohort_folder", *asked.rest)


def new_cohort(asked) -> int:
    """write a commented example of a cohort folder to start from: FOLDER"""
    return call("dlrs_site.doctor", "new", *asked.rest, cwd=None)


def check_cohort(asked) -> int:
    """check a cohort folder whole before anything is computed from it: FOLDER --out FOLDER"""
    return call("dlrs_site.doctor", "check", *asked.rest, cwd=None)


def check_private(asked) -> int:
    """search a finished run for patients' identifiers and header fields: FOLDER --cohort FOLDER"""
    return call("dlrs_site.privacy", *asked.rest, cwd=None)


def lab(asked) -> int:
    """JupyterLab on the notebooks"""
    return call("jupyterlab", f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks", *asked.rest)


def environment(asked) -> int:
    """write environment.yml, for conda's users, from uv.lock"""
    (ROOT / "environment.yml").write_text(environment_yml(), encoding="utf-8")
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the command that the words ask for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 run.py", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name, function, *, rest=False):
        added = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        added.set_defaults(function=function)
        if rest:
            added.add_argument("rest", nargs=argparse.REMAINDER, help="handed on as it stands")
        else:
            added.add_argument("--cores", type=int, help="cores to use (all)")
        return added

    jobs = "main: without the supplement's trainings; alternatives: with other choices about the images, for deviations"
    jobs += "; or one notebook, table or figure by its name, such as 04_signature, table2 or fig2 (all)"
    main_job = command("reproduce", reproduce)
    main_job.add_argument("job", nargs="?", default="all", help=jobs)
    main_job.add_argument("--cohort", metavar="FOLDER", help="a cohort folder of your own instead of the synthetic one")
    main_job.add_argument("--out", metavar="FOLDER", help="where everything is written (runs/PROFILE)")
    main_job.add_argument("--profile", default="default", metavar="NAME", help="a folder of profiles/ (default)")
    command("statistics", only_statistics)
    command("test", test, rest=True)
    command("check", check)
    command("accept", accept).add_argument("--bands", action="store_true", help="also from the runs of `bands`")
    command("bands", bands).add_argument("--seeds", type=int, default=5, help="how many seeds (5)")
    trial = command("validity", validity)
    trial.add_argument("--profile", default="default", metavar="NAME", help="default: 40 minutes or more, small: ten")
    trial.add_argument(
        "--only", metavar="QUESTIONS", help="some of dial,null,crossfit,coverage,seeds,shortcuts,expected"
    )
    trial.add_argument("--seeds", type=int, default=10, help="training seeds, kept for `accept --bands` (10)")
    packing = command("release", release)
    packing.add_argument("--run", metavar="FOLDER", help="a finished run (runs/default)")
    packing.add_argument("--out", metavar="FOLDER", required=True, help="a new folder, or an earlier release")
    applying = command("validate", validate)
    applying.add_argument("--model", metavar="FOLDER", required=True, help="a release")
    applying.add_argument("--cohort", metavar="FOLDER", required=True, help="its patients who are `validation`")
    applying.add_argument("--out", metavar="FOLDER", required=True, help="where everything is written")
    beside = "also show a new baseline, and a new slope, beside the model"
    applying.add_argument("--recalibrate", action="store_true", help=beside)
    applying.add_argument("--profile", default="default", metavar="NAME", help="a folder of profiles/ (default)")
    command("cohort", cohort, rest=True)
    command("new-cohort", new_cohort, rest=True)
    command("check-cohort", check_cohort, rest=True)
    command("check-private", check_private, rest=True)
    command("lab", lab, rest=True)
    command("environment", environment)

    asked = parser.parse_args(words)
    if not hasattr(asked, "function"):
        parser.print_help()
        return 0
    try:
        return asked.function(asked)
    except Stop as why:
        print(f"\n{why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. {AGAIN}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
