"""Plan a study: check its settings, run notebook 13 on them, and make one page of what came out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dlrs import results
from dlrs.config import InputError, in_words
from dlrs.synthetic import planned
from dlrs_run import evaluate

NOTEBOOK = "13_plan"
# Section of the page: its tables, its figures, and what to read in them.
PARTS = {
    "Patients for the development": (
        ["plan_development"],
        [],
        "Riley's criteria. The largest number counts; a model from fewer patients is overfitted or imprecise.",
    ),
    "Patients for the validation": (
        ["plan_validation"],
        [],
        "What a well calibrated model of the anticipated C-index would show in the planned patients, and how many it "
        "takes to show it better.",
    ),
    "Optimism": (
        ["plan_optimism"],
        [],
        "By how much a model looks better in the patients of the fit than in new ones. Networks that are trained on "
        "the same patients add to it.",
    ),
    "Uninformative images": (
        ["plan_null"],
        ["plan"],
        "What the planned analysis finds where there is nothing to find. A finding that is often significant here is "
        "no evidence.",
    ),
    "Power": (["plan_power"], [], "What it finds in validation where the images do tell something."),
}


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Plan as asked; 0 with a page of results, 1 where a setting is impossible, 2 where the folder is another's."""
    options = argparse.ArgumentParser(prog="python3 run.py plan", allow_abbrev=False)
    options.add_argument("--settings", required=True)
    options.add_argument("--out", required=True)
    args = options.parse_args(arguments)
    settings, out = Path(args.settings).resolve(), Path(args.out).resolve()
    try:
        plan = planned.read(settings)
        evaluate.clear(out, "plan.html", NOTEBOOK)
    except (InputError, evaluate.Usage) as why:
        print(why, file=sys.stderr)
        return 2 if isinstance(why, evaluate.Usage) else 1
    out.mkdir(parents=True, exist_ok=True)
    if evaluate.run_notebook(out, NOTEBOOK, {"run_dir": str(out), "settings": str(settings)}):
        return 1
    evaluate.write_tables(out, "SYNTHETIC")
    parts = [evaluate.part(out, title, PARTS) for title in PARTS]
    answer = evaluate.answer_page(results.load_json(out / "interim" / "answer.json"))
    listed = [(results.spell(name), str(value)) for name, value in plan._asdict().items()]
    context = dict(stamp="SYNTHETIC", notebook=NOTEBOOK, settings_are="The plan; times in months, rates per month.")
    evaluate.write_page(out / "plan.html", "A planned study", answer=answer, parts=parts, settings=listed, **context)
    print(f"{out / 'plan.html'}: the answer, tables and figures; results.json holds every number.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
