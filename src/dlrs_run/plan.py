"""Plan a study: check its settings, run notebook 13 on them, and make one page of what came out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dlrs import results
from dlrs.config import in_words
from dlrs.synthetic import planned
from dlrs_run import evaluate

NOTEBOOK = "13_plan"
PARTS = evaluate.sections("plan")


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Plan as asked; 0 with a page of results, 1 where a setting is impossible, 2 where the folder is another's."""
    options = argparse.ArgumentParser(prog="python3 run.py plan", allow_abbrev=False)
    options.add_argument("--settings", required=True)
    options.add_argument("--out", required=True)
    args = options.parse_args(arguments)
    settings, out = Path(args.settings).resolve(), Path(args.out).resolve()
    plan = planned.read(settings)
    evaluate.clear(out, "plan.html", NOTEBOOK)
    out.mkdir(parents=True, exist_ok=True)
    if evaluate.run_notebook(out, NOTEBOOK, {"run_dir": str(out), "settings": str(settings)}):
        return 1
    listed = [(results.spell(name), str(value)) for name, value in plan._asdict().items()]
    context = dict(notebook=NOTEBOOK, settings_are="The plan; times in months, rates per month.", settings=listed)
    evaluate.finish(out / "plan.html", "A planned study", PARTS, stamp="SYNTHETIC", **context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
