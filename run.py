#!/usr/bin/env python3
"""The study's command line. Needs git, Python 3.11 to 3.13 and pip; sets up everything else itself."""

import sys

if sys.platform == "win32":
    sys.exit("This runs on Linux or macOS; on Windows use WSL.")
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"Python 3.11, 3.12 or 3.13 is needed; this is {sys.version.split()[0]}.")

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PARTS = ("all", "main", "alternatives")
HAVE_IMAGES = ("images", "truth.csv")  # in a cohort folder: a hospital's, or what generated patients' are made of
IO, IMAGING = ("io",), ("io", "imaging")
# What the dependencies and each group of pyproject.toml cost on Linux x86-64: MB to fetch (a test sums uv.lock), MB on
# disk (the installed packages' files on 29 November 2026, the statistics with their bytecode).
SIZES = {"statistics": (269, 885), "io": (23, 94), "imaging": (2749, 4882), "dev": (73, 219)}
USED = "ipykernel.kernelapp, lifelines, nbconvert, numba, papermill, seaborn, snakemake.cli, statsmodels.api"
LAB = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
LAB["@jupyterlab/docmanager-extension:plugin"] = {"defaultViewers": {"markdown": "Markdown Preview"}}
SAVED = " ".join(
    f"metadata.language_info.{key}"
    for key in ("codemirror_mode", "file_extension", "mimetype", "nbconvert_exporter", "pygments_lexer", "version")
)
STRIP = ["--keep-id", f"--extra-keys={SAVED}"]  # of a notebook: outputs, and what JupyterLab adds when it saves
AGAIN = "What is done is kept: the same command goes on from there."
ONCE_MENDED = "Once that is mended, the same command goes on."
ALMOST_FULL = 2**20  # bytes
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


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
        raise Stop(f"pip could not fetch uv, for the reason above; with uv on the PATH it need not. {ONCE_MENDED}")
    return str(fetched)


def set_up(*groups: str) -> str:
    """Bring .venv to what uv.lock says and return its Python; costs nothing when it is there already.

    The statistics' packages always, and those of the groups that are asked for; groups that are there stay.
    """
    venv = ROOT / ".venv"
    python, stamp = venv / "bin" / "python", venv / "set-up"
    wanted = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "uv.lock"):
        wanted.update((ROOT / name).read_bytes())
    made_from, *stamped = stamp.read_text().split() if python.exists() and stamp.is_file() else [""]
    if made_from == wanted.hexdigest() and set(groups) <= set(stamped):
        return str(python)
    missing = [
        name for name in ("statistics", *groups) if name not in stamped and not (made_from and name == "statistics")
    ]
    print(to_fetch(missing), flush=True)
    free, needed = shutil.disk_usage(ROOT).free / 1e6, sum(SIZES[name][1] for name in missing)
    if free < needed:
        raise Stop(f"{ROOT} has {free / 1000:.1f} GB free, and that needs {needed / 1000:.1f}. {ONCE_MENDED}")
    # The interpreter that runs this file, since uv's own download of one may be blocked.
    interpreter = getattr(sys, "_base_executable", sys.executable)
    environment = {**os.environ, "UV_PYTHON": interpreter, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    chosen = sorted({*groups, *stamped})
    with alone(ROOT / ".tools", "set-up"):
        command = [find_uv(), "sync", "--frozen", "--inexact", "--no-default-groups"]
        if subprocess.run([*command, *(f"--group={name}" for name in chosen)], cwd=ROOT, env=environment).returncode:
            raise Stop(f"uv could not set up .venv, for the reason above. {ONCE_MENDED}")
    if sys.dont_write_bytecode:  # then every notebook would compile its imports again: once here, those that all have
        may_write = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run([str(python), "-c", f"import {USED}"], cwd=ROOT, env=may_write)
    stamp.write_text(" ".join([wanted.hexdigest(), *chosen]))
    return str(python)


def to_fetch(names: list[str]) -> str:
    """Say what the packages of some groups cost at most, before they are fetched."""
    if not names:
        return "Bringing .venv to the new uv.lock"
    fetch, disk = (sum(numbers) for numbers in zip(*(SIZES[name] for name in names), strict=True))
    return (
        f"Setting up .venv ({', '.join(names)}): up to {fetch} MB to fetch, {disk / 1000:.1f} GB on disk (Linux x86-64)"
    )


def call(*command: str, groups: tuple[str, ...] = (), cwd: Path | None = ROOT) -> int:
    """Run a module of the locked environment in the repository's root, or where the user is; return its exit status."""
    return subprocess.run([set_up(*groups), "-m", *command], cwd=cwd).returncode


def environment_yml() -> str:
    """Return environment.yml: the lock's versions for conda's users, below pip since the lock speaks of wheels."""
    export = [find_uv(), "export", "--frozen", "--no-hashes", "--no-header", "--no-annotate", "--no-emit-project"]

    def exported(*options: str) -> list[str]:
        ran = subprocess.run([*export, *options], cwd=ROOT, capture_output=True, text=True, check=True)
        return ran.stdout.splitlines()

    text = "# Written by `python3 run.py environment` from uv.lock; change that file, not this one.\n"
    text += "# For the statistics alone leave out what stands below `images and networks` and below `tests`.\n"
    text += "name: dlrs\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - -e .\n"
    pins, listed = exported(), set()
    parts = {"": [], "images and networks": [f"--group={name}" for name in IMAGING], "tests": ["--all-groups"]}
    for title, groups in parts.items():
        names = {pin.split("==")[0] for pin in exported("--no-default-groups", *groups)} - listed
        text += f"      # {title}\n" if title else ""
        text += "".join(f'      - "{pin}"\n' for pin in pins if pin.split("==")[0] in names)
        listed |= names
    return text


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
def alone(run_dir: Path, name: str = "run") -> Iterator[int]:
    """Hold a run's folder, or that of the set-up; a second one on it is refused.

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
                raise Stop(f"{shown(run_dir)} is in use by another {name} (process {holder}). Wait for it or stop it.")
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
    python = set_up(*(for_headers(settings.get("cohort_dir")) if settings.get("part") == "statistics" else IMAGING))
    command = [python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(run_dir)]
    command += [*targets, "--workflow-profile", str(options.parent), "--rerun-incomplete"]
    command += ["--nolock"]  # `alone` is the lock
    command += ["--cores", str(cores or "all")] if cores or not elsewhere else []
    command += ["--forceall"] if force else []
    command += ["--config", *(f"{name}={value}" for name, value in settings.items() if value is not None)]
    environment = {**os.environ, "DLRS_PARENT": str(os.getpid())}
    if elsewhere:  # seconds in which Snakemake cancels a killed run's jobs; local ones end with it at once
        environment["DLRS_GRACE"] = "8"
    if not os.access(os.path.expanduser("~"), os.W_OK):  # Snakemake, Jupyter and matplotlib keep files at home
        environment["HOME"] = str(run_dir / ".snakemake" / "home")
        environment.pop("XDG_CACHE_HOME", None)
    if settings.get("part") != "statistics":  # figures as PDF too, see `Record.figure`
        environment["DLRS_PDF"] = str(run_dir)
    started = time.monotonic()
    with alone(run_dir) as lock:
        logs = run_dir / "logs"
        logs.mkdir(exist_ok=True)
        by_hand = [path for path in run_dir.glob("results/*.json") if '"by_hand": true' in path.read_text("utf-8")]
        for old in (*logs.glob("*.failed"), logs / "refused", *by_hand):
            old.unlink(missing_ok=True)
        for path in run_dir.rglob("*"):  # made when the clock was ahead: no later change would look newer
            if path.is_file() and path.stat().st_mtime > time.time():
                os.utime(path, (1, 1))  # 0 would be no date to Snakemake
        with open(logs / "snakemake.log", "w", encoding="utf-8") as log:
            # The stages speak for themselves on standard output; elsewhere only Snakemake hears them.
            stderr = None if elsewhere else log
            status = subprocess.run(command, stderr=stderr, env=environment, pass_fds=[lock]).returncode
        output = (logs / "snakemake.log").read_text(encoding="utf-8")
        if status:
            # `refused` comes from the Snakefile, before anything started; the others from a stage each.
            refused = logs / "refused"
            if refused.exists():
                raise Stop(refused.read_text(encoding="utf-8"))
            why = [path.read_text(encoding="utf-8") for path in sorted(logs.glob("*.failed"))]
            if not why:
                last = [line[:300] for line in output.strip().splitlines()[-15:]]
                why = [f"Snakemake was ended by signal {-status}."] if status < 0 else ["Snakemake failed.", *last]
            full = shutil.disk_usage(run_dir).free < ALMOST_FULL  # then the log may end before its last word
            if full or any(os.strerror(errno.ENOSPC) in text for text in (*why, output)):
                why = [f"The disk is full that holds {shown(run_dir)}: free some space."]
            raise Stop("\n".join([*why, "", AGAIN]))
    done = "nothing to do" if "Nothing to be done" in output else f"done in {time.monotonic() - started:.0f} s"
    print(f"{shown(run_dir)}: {done}; tables/, figures/, results.json and the executed notebooks/ are in it.")


def for_headers(cohort: Path | None = None) -> tuple[str, ...]:
    """Return the groups that 01 needs: it reads the headers of images where the cohort folder has them."""
    return IO if ((cohort or ROOT / "data_synthetic") / "images").is_dir() else ()


def statistics(*, cores: int | None = None, force: bool = False) -> Path:
    run_dir = ROOT / "runs" / "statistics"
    study(run_dir, profile="default", cores=cores, force=force, part="statistics")
    return run_dir


def examine(cohort: Path, pages: Path, *options: str) -> None:
    """Check a hospital's folder, once as long as it stays the same; its errors stop everything that would follow.

    Generated patients are not checked, nor what is no cohort folder, which is refused further on.
    """
    if not (cohort / "cohort.yaml").is_file():
        return
    status = call("dlrs_site.doctor", "check", str(cohort), "--out", str(pages), "--once", *options, groups=IO)
    if status:
        page = pages / "doctor.html"
        if status > 1 or not page.is_file():
            raise Stop(f"{shown(cohort)} could not be checked, for the reason above, so nothing was run. {ONCE_MENDED}")
        where = f"{shown(page)} lists them with their remedies; it may name patients"
        raise Stop(f"{shown(cohort)} has errors, so nothing was run: {where}. Warnings would not stop it.")


# ---------------------------------------------------------------- commands


def reproduce(args) -> int:
    """the whole study: cohort, images, training, every notebook, table and figure"""
    is_default = args.cohort is None and args.out is None and args.profile == "default"
    if args.cohort and not args.out:
        raise Stop("--cohort needs --out FOLDER: the folder that everything is written to.")
    run_dir = Path(args.out).resolve() if args.out else ROOT / "runs" / args.profile
    cohort = Path(args.cohort).resolve() if args.cohort else None
    if cohort and (cohort / "dl_prob.csv").is_file() and not any((cohort / name).exists() for name in HAVE_IMAGES):
        if args.job == "alternatives":
            raise Stop(f"alternatives trains networks, and {shown(cohort)} holds no images.")
        print(f"{shown(cohort)} holds dl_prob.csv and no images: the statistics alone are run.", flush=True)
        args.job = "" if args.job in PARTS else args.job
        return only_statistics(args)
    if cohort:
        examine(cohort, run_dir / "doctor")
    part, targets = (args.job, []) if args.job in PARTS else ("all", [args.job])
    settings = {"part": part, "cohort_dir": cohort, "publish": (is_default and args.job == "all") or None}
    study(run_dir, *targets, profile=args.profile, cores=args.cores, **settings)
    return 0


def only_statistics(args) -> int:
    """the statistics alone, from the committed dl_prob.csv or that of a cohort folder; needs no torch"""
    if args.cohort and not args.out:
        raise Stop("--cohort needs --out FOLDER: the folder that everything is written to.")
    run_dir = Path(args.out or ROOT / "runs" / "statistics").resolve()
    cohort = Path(args.cohort or ROOT / "data_synthetic").resolve()
    if args.cohort:
        examine(cohort, run_dir / "doctor", "--statistics")
    settings = dict(profile=args.profile, cores=args.cores, part="statistics", cohort_dir=cohort)
    study(run_dir, *filter(None, [getattr(args, "job", "")]), **settings)
    return 0


def test(args) -> int:
    """ruff, notebook hygiene and pytest; other options go to pytest"""
    groups = (*(IO if args.quick else IMAGING), "dev")
    notebooks = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))
    chosen = [] if args.all else ["-m", "not imaging and not slow" if args.quick else "not slow"]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles all tests again
    status = {
        "ruff check": call("ruff", "check", ".", groups=groups),
        "ruff format": call("ruff", "format", "--check", ".", groups=groups),
        "nbstripout": call("nbstripout", "--verify", "--keep-id", *notebooks, groups=groups) if notebooks else 0,
        "pytest": call("pytest", "-n", "2", "--dist", "worksteal", *chosen, *args.rest, groups=groups),
    }
    failed = [name for name, code in status.items() if code]
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return int(bool(failed))


def check(args) -> int:
    """rerun the statistics and compare every number with reports/expected.json"""
    run_dir = statistics(cores=args.cores, force=True)
    return call("dlrs_run.expected", "check", str(run_dir), str(ROOT / "runs" / "default"))


def accept(args) -> int:
    """take the default run's dl_prob.csv and today's numbers as the expected ones"""
    call("dlrs_run.expected", "freeze", str(ROOT / "runs" / "default"))
    run_dir = statistics(cores=args.cores, force=True)
    bands = sorted(str(path) for path in (ROOT / "runs" / "bands").glob("seed-*")) if args.bands else []
    return call("dlrs_run.expected", "accept", str(run_dir), *bands)


def bands(args) -> int:
    """train the default study at several seeds, for `accept --bands`"""
    default = ROOT / "runs" / "default"
    if not (default / "results.json").is_file():
        raise Stop("runs/default is not complete: run `python3 run.py reproduce` first; its images are used again.")
    study(ROOT / "runs" / "bands", profile="default", cores=args.cores, part="seeds", seeds=args.seeds)
    return 0


def validity(args) -> int:
    """what the design finds with uninformative images: negative controls, simulated studies, notebooks 09a to 09i"""
    if not (ROOT / "runs" / "default" / "results.json").is_file():
        raise Stop("runs/default is not complete: run `python3 run.py reproduce` first; the controls start from it.")
    full = args.profile == "default"
    questions = args.only.split(",") if args.only else []
    if full and args.seeds and (not questions or "seeds" in questions):
        bands(args)
    run_dir = ROOT / "runs" / ("validity" if full else f"validity-{args.profile}")
    only = args.only or None
    study(run_dir, profile=args.profile, cores=args.cores, part="validity", only=only, publish=full or None)
    return 0


def release(args) -> int:
    """pack a finished run's model, without any patient, to be applied elsewhere"""
    folders = [Path(args.run or ROOT / "runs" / "default"), Path(args.out)]
    return call("dlrs_site.release", *(str(path.resolve()) for path in folders), groups=IMAGING)


def validate(args) -> int:
    """apply a released model to a cohort folder, refitting nothing"""
    place = {"cohort_dir": Path(args.cohort).resolve(), "model_dir": Path(args.model).resolve()}
    options = {"recalibrate": args.recalibrate or None}
    examine(place["cohort_dir"], Path(args.out).resolve() / "doctor")
    run_dir = Path(args.out).resolve()
    study(run_dir, profile=args.profile, cores=args.cores, part="validate", **place, **options)
    return call("dlrs_site.summary", "write", str(run_dir), "--model", args.model, cwd=None) if args.summary else 0


def pool(args) -> int:
    """pool several hospitals' validations of one model from their summaries, without patients' rows"""
    return call("dlrs_site.summary", "pool", *args.summaries, "--out", args.out, cwd=None)


def evaluate(args) -> int:
    """judge somebody's predictions, of any disease and any model, from a table of times, events and risks or scores"""
    names = (
        "id",
        "time",
        "time_unit",
        "event",
        "horizon",
        "cohort",
        "centre",
        "clinical",
        "model",
        "smallest_count",
        "map",
    )
    options = {name: getattr(args, name) for name in names}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    arguments += [f"--{kind}={name}" for kind in ("risk", "survival", "score") for name in getattr(args, kind) or []]
    return call("dlrs_run.evaluate", args.table, f"--out={args.out}", *arguments, cwd=None)


def multiverse(args) -> int:
    """all defensible analyses of a finished run at once, or one of them by its id"""
    arguments = [f"--{name}={value}" for name in ("run", "out", "universe") if (value := getattr(args, name))]
    return call("dlrs_run.universes", *arguments, *(f"--also={word}" for word in args.also or []), cwd=None)


def plan(args) -> int:
    """plan a study: the patients that it needs, how precise and how optimistic it will be, what it finds by chance"""
    return call("dlrs_run.plan", f"--settings={args.settings}", f"--out={args.out}", cwd=None)


def cohort(args) -> int:
    """make a synthetic cohort folder, its tables and images"""
    values = {name: getattr(args, name) for name in ("out", "seed", "signal", "size_signal", "patients", "jobs")}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value is not None]
    arguments += [
        f"--{name.replace('_', '-')}" for name in ("free_counts", "tables_only", "images_only") if vars(args)[name]
    ]
    return call("dlrs.synthetic.cohort_folder", *arguments, groups=IO)


def new_cohort(args) -> int:
    """write a commented example of a cohort folder, with three patients, to start from"""
    return call("dlrs_site.doctor", "new", args.folder, groups=IO, cwd=None)


def check_cohort(args) -> int:
    """check a cohort folder whole, table and images, before anything is computed from it"""
    arguments = [args.folder, "--out", args.out, *([f"--jobs={args.jobs}"] if args.jobs else [])]
    return call("dlrs_site.doctor", "check", *arguments, groups=IO, cwd=None)


def check_private(args) -> int:
    """search a finished run for patients' identifiers and personal fields of image headers"""
    return call("dlrs_site.privacy", args.folder, "--cohort", args.cohort, groups=IO, cwd=None)


def lab(args) -> int:
    """JupyterLab on the list of the notebooks; other options go to JupyterLab"""
    python = set_up(*for_headers())
    venv = Path(python).parents[1]
    kernel = venv / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    called = json.loads(kernel.read_text(encoding="utf-8")) | {"display_name": "dlrs"}
    settings = venv / "etc" / "jupyter" / "labconfig" / "default_setting_overrides.json"
    for path, content in ((kernel, called), (settings, LAB)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # uv's own copy may be the same file
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    arguments = [f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks/README.md"]
    arguments += ["--allow-root"] if os.geteuid() == 0 else []
    return os.execv(python, [python, "-m", "jupyterlab", *arguments, *args.rest])  # what ends run.py ends it


def clean(args) -> int:
    """take the outputs out of the notebooks, as they are committed"""
    return call("nbstripout", *STRIP, *map(str, sorted((ROOT / "notebooks").glob("*.ipynb"))))


def environment(args) -> int:
    """write environment.yml, for conda's users, from uv.lock"""
    (ROOT / "environment.yml").write_text(environment_yml(), encoding="utf-8")
    return 0


# ---------------------------------------------------------------- the command line


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the whole command line's parser and each command's."""
    root = argparse.ArgumentParser(prog="python3 run.py", description=__doc__)
    commands = root.add_subparsers(metavar="COMMAND")
    found = {}

    def command(name, function, example="", *, cores=False, rest=""):
        text = function.__doc__[0].upper() + function.__doc__[1:] + "."
        epilog = f"Example: python3 run.py {name} {example}".rstrip()
        added = commands.add_parser(name, help=function.__doc__, description=text, epilog=epilog, allow_abbrev=False)
        added.set_defaults(function=function, parser=added, rest=[], takes_more=bool(rest))
        if cores:
            added.add_argument("--cores", type=int, metavar="N", help="cores to use (all)")
        if rest:
            added.usage = f"{added.prog} [-h] {rest}"
        found[name] = added
        return added

    def option(parser, name, metavar, help_text, **more):
        parser.add_argument(name, metavar=metavar, help=help_text, **more)

    def profile(parser, help_text="a folder of profiles/ (default)"):
        option(parser, "--profile", "NAME", help_text, default="default")

    jobs = "main: without the supplement's trainings; alternatives: with other choices about the images, for deviations"
    jobs += "; or one notebook, table or figure by its name, such as 04_signature, table2 or fig2 (all)"
    added = command("reproduce", reproduce, "--cohort my_hospital --out runs/my_hospital", cores=True)
    added.add_argument("job", nargs="?", default="all", help=jobs)
    option(added, "--cohort", "FOLDER", "a cohort folder of your own instead of the synthetic one")
    option(added, "--out", "FOLDER", "where everything is written (runs/PROFILE)")
    profile(added, "a folder of profiles/: smoke, a few patients; paper, ImageNet weights; slurm, a cluster (default)")
    added = command("statistics", only_statistics, "--cohort my_hospital --out runs/my_hospital", cores=True)
    option(added, "--cohort", "FOLDER", "a cohort folder of your own with dl_prob.csv, instead of the synthetic one")
    option(added, "--out", "FOLDER", "where everything is written (runs/statistics)")
    profile(added)
    added = command("test", test, "--quick -k nomogram", rest="[--quick | --all] [PYTEST'S OPTIONS]")
    much = added.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="what needs no torch, in about five minutes")
    slow = "also what takes long: every cell twice, other horizons, all pages in a browser, the study on few patients"
    much.add_argument("--all", action="store_true", help=f"{slow}; half an hour")
    command("check", check, cores=True)
    added = command("accept", accept, "--bands", cores=True)
    added.add_argument("--bands", action="store_true", help="also the bands, from the runs of `bands`")
    option(command("bands", bands, "--seeds 5", cores=True), "--seeds", "N", "how many (5)", type=int, default=5)
    added = command("validity", validity, "--profile small --only null,coverage", cores=True)
    profile(added, "default: 40 minutes or more, small: ten")
    option(added, "--only", "QUESTIONS", "some of dial,null,crossfit,coverage,seeds,shortcuts,expected,multiverse")
    option(added, "--seeds", "N", "training seeds, kept for `accept --bands` (10)", type=int, default=10)
    added = command("release", release, "--run runs/default --out model")
    option(added, "--run", "FOLDER", "a finished run (runs/default)")
    option(added, "--out", "FOLDER", "a new folder, or an earlier release", required=True)
    added = command("validate", validate, "--model model --cohort my_hospital --out runs/validated", cores=True)
    option(added, "--model", "FOLDER", "a release", required=True)
    option(added, "--cohort", "FOLDER", "its patients who are `validation`", required=True)
    option(added, "--out", "FOLDER", "where everything is written", required=True)
    recalibrate = "also show a new baseline, and a new slope, next to the model"
    added.add_argument("--recalibrate", action="store_true", help=recalibrate)
    added.add_argument("--summary", action="store_true", help="also write summary.json, sums that `pool` joins")
    profile(added)
    added = command("pool", pool, "munich.json zurich.json shanghai.json --out runs/pooled")
    added.add_argument("summaries", metavar="SUMMARY", nargs="+", help="summary.json of `validate --summary`")
    option(added, "--out", "FOLDER", "folder for the tables", required=True)
    example = "predictions.csv --time days --time-unit days --event died --horizon 730 --risk model_a --out runs/judged"
    added = command("evaluate", evaluate, example)
    option(added, "table", "TABLE", "CSV, XLSX or Parquet, a row a patient")
    option(added, "--out", "FOLDER", "a new folder, or that of an earlier evaluation", required=True)
    option(added, "--id", "COL", "names the patients, so that duplicates are seen")
    option(added, "--time", "COL", "time from the prediction to the event or the last follow-up")
    units = ("days", "months", "years")
    added.add_argument("--time-unit", choices=units, help="of the time and of the horizon; never guessed")
    option(
        added, "--event", "COL", "1 event, 0 censored; other codes and competing causes are named in the file of --map"
    )
    option(added, "--horizon", "N", "time at which risks are judged", type=float)
    option(added, "--risk", "COL", "a probability of the event by the horizon; may be repeated", action="append")
    option(added, "--survival", "COL", "a probability of being free of it then; may be repeated", action="append")
    option(added, "--score", "COL", "any number; a higher score is a higher risk; may be repeated", action="append")
    option(added, "--cohort", "COL", "cohorts, judged apart")
    option(added, "--centre", "COL", "centres")
    option(added, "--clinical", "COL,COL", "clinical variables, for subgroups")
    option(added, "--model", "COLUMNS", 'a Cox model to fit and draw as a nomogram, such as "age + stage"')
    option(added, "--smallest-count", "N", "hide counts of patients from 1 to N - 1 (0: none)", type=int)
    option(added, "--map", "FILE", "YAML with the same names, and more settings: see docs/evaluate.md")
    added = command("multiverse", multiverse, "--run runs/default --out runs/multiverse")
    option(added, "--run", "FOLDER", "a finished run (the newest)")
    option(added, "--out", "FOLDER", "a new folder, or that of an earlier multiverse (runs/multiverse)")
    option(added, "--universe", "ID", "show this universe of tables/multiverse_universes.csv only")
    option(added, "--also", "NAME=FILE", "further probabilities as dl_prob.csv; may be repeated", action="append")
    added = command("plan", plan, "--settings paper/plan_example.yaml --out runs/plan")
    option(added, "--settings", "FILE", "YAML, as paper/plan_example.yaml", required=True)
    option(added, "--out", "FOLDER", "a new folder, or that of an earlier plan", required=True)
    added = command("cohort", cohort, "--seed 7 --signal 0.5 --out runs/other_cohort")
    option(added, "--out", "FOLDER", "the folder to write", required=True)
    option(added, "--seed", "N", "the only seed (that of data_synthetic)", type=int)
    option(added, "--signal", "S", "how much the images tell of the risk, 0 to 1 (1)", type=float)
    option(added, "--size-signal", "S", "how much tumour size tells of the risk, 0 to 1 (0)", type=float)
    option(added, "--patients", "N", "only so many of the 235, for a trial", type=int)
    option(added, "--jobs", "N", "processes that render (2)", type=int)
    added.add_argument("--free-counts", action="store_true", help="do not hold the counts to the paper's")
    only = added.add_mutually_exclusive_group()
    only.add_argument("--tables-only", action="store_true", help="no images")
    only.add_argument("--images-only", action="store_true", help="leave the tables as they are")
    option(command("new-cohort", new_cohort, "my_hospital"), "folder", "FOLDER", "a new folder")
    added = command("check-cohort", check_cohort, "my_hospital --out runs/findings")
    option(added, "folder", "FOLDER", "a cohort folder")
    option(added, "--out", "FOLDER", "folder for the pages; private, since they may name patients", required=True)
    option(added, "--jobs", "N", "processes that read images (2)", type=int)
    added = command("check-private", check_private, "runs/my_hospital --cohort my_hospital")
    option(added, "folder", "RUN", "a finished run, or what is to be handed on of it")
    option(added, "--cohort", "FOLDER", "the cohort folder that it was made from", required=True)
    command("lab", lab, "--no-browser --port 8890", rest="[JUPYTERLAB'S OPTIONS]")
    command("clean", clean)
    command("environment", environment)
    return root, found


def commands_md() -> str:
    """Return docs/commands.md: every command with its options and an example."""
    text = "# Commands\n\n`python3 run.py COMMAND --help` says what each option means.\n\n"
    text += "| command | what it does | example |\n|---|---|---|\n"
    for name, parser in parsers()[1].items():
        usage = " ".join(parser.format_usage().split()).split(f"{parser.prog} [-h]")[1]
        example = parser.epilog.removeprefix("Example: ")
        text += f"| `{f'{name}{usage}'.replace('|', chr(92) + '|')}` | {parser.description} | `{example}` |\n"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the words ask for; return the exit status."""
    root, _ = parsers()
    args, more = root.parse_known_args(arguments)
    if not hasattr(args, "function"):
        root.print_help()
        return 0
    if more and not args.takes_more:
        args.parser.error(f"unrecognized arguments: {' '.join(more)}")
    args.rest = [word for word in more if word != "--"]
    try:
        return args.function(args)
    except Stop as why:
        print(f"\n{why}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        print(f"\n{error.filename or ROOT} cannot be written to: {error.strerror}. {ONCE_MENDED}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. {AGAIN}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
