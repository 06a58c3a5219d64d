"""One stage of the study, a notebook or a function: run it, show its progress, and say plainly why it failed."""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib
import inspect
import json
import logging
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

from dlrs.config import InputError, did_you_mean, display_path, resolve, sha256, whole_file, write_text

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_SAVES = 5.0, 10.0
AFTER_THE_NUMBERS = {"10_report", "report", "pages", "private", "publish"}
PUBLISHED_ALONE = "00_paper_audit"  # the notebook that shows no patient's number
KINDS = {"int": int, "float": (int, float), "str": str, "bool": bool}


class CellError(Exception):
    """A cell of a notebook failed; the message says which and why."""


def die_with(parent: int, grace: float = 0) -> None:
    """End this process soon after its parent ended, so that a killed run leaves nothing behind that still writes.

    With `grace` it is interrupted first and has so many seconds, in which Snakemake cancels its jobs on a cluster.
    """
    if grace:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background processes ignore

    def watch():
        while os.getppid() == parent:
            time.sleep(0.2)
        if grace:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def declared(notebook: str | Path) -> dict[str, str]:
    """Return the parameters that a notebook declares in its `parameters` cell, each with the name of its type."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    source = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    lines = ast.parse("\n".join(source)).body
    return {line.target.id: ast.unparse(line.annotation) for line in lines if isinstance(line, ast.AnnAssign)}


def check_parameters(notebook: str | Path, parameters: Mapping) -> None:
    """Refuse a parameter that the notebook does not declare, or a value of another type.

    Raises
    ------
    InputError
        Names the notebook, the parameter, and what it could have been.
    """
    names = declared(notebook)
    for name, value in parameters.items():
        if name not in names:
            problem, expected = f"no parameter {name}", "one of " + (", ".join(names) or "none")
            remedy = did_you_mean(name, names, "Correct the profile.")
            raise InputError(display_path(notebook), problem, expected=expected, remedy=remedy)
        kind = KINDS.get(names[name], object)
        if not isinstance(value, kind) or (isinstance(value, bool) and names[name] in ("int", "float")):
            problem, expected = f"{name} is {value!r}", f"a value of type {names[name]}"
            raise InputError(display_path(notebook), problem, expected=expected, remedy="Correct the profile.")


def label(stage: str) -> str:
    """Return a stage's name, unlike that of any other: one in a folder below the run has the folder's name at its end.

    >>> label("interim/branches/size_56/03_train_T2W")
    '03_train_T2W_size_56'
    """
    within, name = os.path.split(stage)
    return f"{name}_{os.path.basename(within)}" if within else name


class Stage:
    """What a reader sees of a running stage: its log file gets every line, the terminal a few."""

    def __init__(self, name: str, folder: Path):
        all_stages = os.environ.get("DLRS_STAGES", name).split()
        self.label = f"[{all_stages.index(name) + 1}/{len(all_stages)}] {name}"
        folder.mkdir(parents=True, exist_ok=True)
        self.failure = folder / f"{name}.failed"
        self.failure.unlink(missing_ok=True)
        self.log = open(folder / f"{name}.log", "w", encoding="utf-8")  # noqa: SIM115, open as long as the stage
        self.terminal = sys.stdout  # as it is now: a function's own output is led to the log
        self.started = self.said = time.monotonic()
        self.say("starts")

    def say(self, text: str) -> None:
        print(f"{self.label}  {text}", file=self.terminal, flush=True)

    def write(self, text: str) -> None:
        """Take output as it comes; of a bar that redraws itself pass on a line now and then."""
        if "\r" not in text and "%|" not in text:
            self.log.write(text)
            self.log.flush()
            return
        drawn = [part.strip() for part in re.split(r"[\r\n]", text) if part.strip()]
        now = time.monotonic()
        if drawn and now - self.said > SECONDS_BETWEEN_LINES:
            self.said = now
            self.say(drawn[-1][:120])

    def flush(self) -> None:
        self.log.flush()

    def close(self) -> None:
        self.log.close()

    def done(self) -> None:
        used = [resource.getrusage(process) for process in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        processor = sum(usage.ru_utime + usage.ru_stime for usage in used)
        peak = max(usage.ru_maxrss for usage in used) / (1e9 if sys.platform == "darwin" else 1e6)  # bytes there
        seconds = time.monotonic() - self.started
        self.write(f"{seconds:.1f} s, {processor:.1f} s of processor time, peak memory {peak:.2f} GB\n")
        self.say(f"done in {seconds:.0f} s, peak memory {peak:.1f} GB")

    def fail(self, message: str) -> None:
        self.failure.write_text(message, encoding="utf-8")
        self.say("failed")


def saved_now_and_then() -> str:
    """Return the name of an engine of papermill that writes the executed notebook every ten seconds and at the end.

    papermill's own writes it whole before and after each cell, which takes longer than most cells do.
    """
    from papermill import engines

    class Engine(engines.NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, *given, **options):
            save = nb_man.save

            def save_now_and_then():
                if (nb_man.now() - nb_man.last_save_time).total_seconds() > SECONDS_BETWEEN_SAVES:
                    save()

            nb_man.save = save_now_and_then
            try:
                super().execute_managed_notebook(nb_man, *given, **options)
            finally:
                del nb_man.save  # the last time is near, also after an error

    engines.papermill_engines.register("now and then", Engine)
    return "now and then"


def run_notebook(notebook: Path, executed: Path, parameters: Mapping, stage: Stage) -> None:
    """Execute a notebook with papermill in a fresh kernel; what it prints goes to the stage's log."""
    check_parameters(notebook, parameters)
    import papermill
    from papermill.log import logger
    from traitlets.config import Config

    shared = notebook.stem != PUBLISHED_ALONE and masks_counts(parameters)
    handler = logging.Handler()

    def emit(record):
        text = record.getMessage().rstrip("\n") + "\n"
        if not shared or "\r" in text or "%|" in text:  # a log holds what cells show, of which shared runs mask counts
            stage.write(text)

    handler.emit = emit
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="dlrs-") as sockets:
            # A kernel on this machine needs no network port, nor ipykernel's warning about one in every log.
            local = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
            papermill.execute_notebook(
                os.path.relpath(notebook),
                os.path.relpath(executed),
                parameters=dict(parameters),
                cwd=str(notebook.parent),
                engine_name=saved_now_and_then(),
                kernel_name="python3",
                log_output=True,
                progress_bar=False,
                config=local,
            )
    except papermill.PapermillExecutionError as error:
        stage.write(str(error))
        raise CellError(describe_failure(notebook, executed, error)) from None
    finally:
        logger.handlers, logger.propagate = before
        if shared and executed.is_file():
            hide_tables(executed)


def masks_counts(parameters: Mapping) -> bool:
    """Say whether the run's results are to be shared, without their small counts."""
    study = resolve(parameters.get("run_dir", "")) / "interim" / "study.json"
    return study.is_file() and json.loads(study.read_text(encoding="utf-8"))["smallest_count"] > 0


def hide_tables(executed: Path) -> None:
    """Take the tables that a notebook shows below its cells out of an executed copy that is to be shared.

    Their counts are not masked; `tables/` holds the same ones masked. Printed lines go too; figures stay.
    """
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if not any(kind.startswith("image/") for kind in data) and data:
                output["data"] = {"text/plain": "Not shown, since small counts are masked: see tables/."}
            elif output.get("output_type") == "stream":
                output["text"] = "Not shown, since small counts are masked.\n"
    write_text(executed, json.dumps(notebook, indent=1, ensure_ascii=False))


def describe_failure(notebook: Path, executed: Path, error) -> str:
    """Say which notebook stopped, in which cell and why; cells are counted from 1 as in the notebook on disk."""
    number = 0
    for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
        added_by_papermill = {"injected-parameters", "papermill-error-cell-tag"} & set(cell["metadata"].get("tags", []))
        number += not added_by_papermill
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):
            break
    first = next((line.strip() for line in error.source.splitlines() if line.strip()), "")
    return (
        f"{display_path(notebook)} stopped in cell {number}: {first}\n"
        f"{error.ename}: {error.evalue}\n"
        f"Executed so far: {display_path(executed)}"
    )


def fingerprint(inputs: Iterable[str | Path], parameters: Mapping) -> str:
    """Return a hash of the parameters and of the inputs' contents."""
    contents = {str(path): sha256(path) for path in inputs}
    return hashlib.sha256(json.dumps([contents, dict(parameters)], sort_keys=True).encode()).hexdigest()


def as_they_are(paths: Iterable[str | Path]) -> dict[str, tuple[int, int] | None]:
    """Return when files were last changed, and their sizes; None for one that is gone."""
    found = {str(path): Path(path) for path in paths}
    stats = {name: path.stat() if path.exists() else None for name, path in found.items()}
    return {name: (stat.st_mtime_ns, stat.st_size) if stat else None for name, stat in stats.items()}


class Kept:
    """A costly stage's files, put back instead of made again when the contents that it was made from are the same.

    Snakemake repeats a stage when an earlier one ran, whatever came out of that; nobody wants to train again because
    the layout of Table 1 was changed.
    """

    def __init__(self, folder: Path, made_from: str, files: Iterable[str]):
        self.folder, self.made_from, self.files = folder, made_from, list(files)

    def put_back(self) -> bool:
        note = self.folder / "made_from.txt"
        if not note.is_file() or note.read_text(encoding="utf-8") != self.made_from:
            return False
        for place, name in enumerate(self.files):
            with whole_file(name) as partial:
                shutil.copy2(self.folder / str(place), partial)
        return True

    def keep(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for place, name in enumerate(self.files):
            shutil.copy2(name, self.folder / str(place))
        write_text(self.folder / "made_from.txt", self.made_from)


def run_stage(name: str, executed: Path, parameters: Mapping, stage: Stage, inputs: Iterable[str] = ()) -> int:
    """Run a notebook, or a function with those of the parameters that it knows; return the exit status.

    A file of `inputs` that changes meanwhile makes it fail: what came out would look newer than the change.
    """
    before = as_they_are(inputs)
    try:
        if name.endswith(".ipynb"):
            run_notebook(Path(name), executed, parameters, stage)
        else:
            with contextlib.redirect_stdout(stage), contextlib.redirect_stderr(stage):
                module, function = name.rsplit(".", 1)
                function = getattr(importlib.import_module(module), function)
                known = inspect.signature(function).parameters
                function(**{key: value for key, value in parameters.items() if key in known})
    except (InputError, CellError) as error:
        stage.fail(str(error))
    except Exception as error:
        stage.write(traceback.format_exc())
        stage.fail(f"{name} stopped: {type(error).__name__}: {error}")
    else:
        now = as_they_are(inputs)  # None: dropped, as a control's volumes are by their last reader
        changed = [path for path, stat in now.items() if stat not in (None, before[path])]
        if not changed:
            stage.done()
            return 0
        stage.fail(f"{display_path(changed[0])} was changed while it was read.")
    return 1


def main(arguments: list[str] | None = None) -> int:
    """Run a stage as the Snakefile asks; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help="a notebook's path, or a function such as dlrs_run.stages.join")
    named = "the stage's name, for its log and its executed notebook; before it the folder of the run that it works in"
    parser.add_argument("--name", required=True, help=named)
    parser.add_argument("--run", required=True, help="the run's folder, handed on as run_dir")
    parser.add_argument("--parameters", default="{}", type=json.loads, help="JSON object")
    parser.add_argument("--parent", type=int, help="process to end with")
    parser.add_argument("--inputs", nargs="*", default=[], help="files that the outputs depend on")
    parser.add_argument("--outputs", nargs="*", default=[])
    parser.add_argument("--keep", action="store_true", help="put the outputs back when no input's content has changed")
    args = parser.parse_args(arguments)
    if args.parent:
        die_with(args.parent)
    os.environ["DLRS_STAGE"] = args.name  # a notebook run by hand marks the run's pages as older than itself
    within, short = os.path.split(args.name)
    name, executed = label(args.name), Path(within, "notebooks", f"{short}.ipynb").absolute()
    with contextlib.closing(Stage(name, Path("logs"))) as stage:
        parameters = {"run_dir": os.path.join(args.run, within).rstrip("/"), **args.parameters}
        if name not in AFTER_THE_NUMBERS:  # the page of an earlier run does not outlive its numbers
            Path("report.html").unlink(missing_ok=True)
        if not args.keep:
            return run_stage(args.what, executed, parameters, stage, args.inputs)
        made_from = fingerprint(args.inputs, args.parameters)
        kept = Kept(Path("kept", name), made_from, [*args.outputs, str(executed)])
        if kept.put_back():
            stage.say("put back: nothing that it depends on has changed")
            return 0
        status = run_stage(args.what, executed, parameters, stage, args.inputs)
        if status == 0:
            kept.keep()
        return status


if __name__ == "__main__":
    sys.exit(main())
