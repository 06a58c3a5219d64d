"""The lines that the parity test prints, and reports/parity.csv and PARITY.md."""

from __future__ import annotations

import csv

from dlrs.config import ROOT, display_path, whole_file
from parity import NOT_COMPARED, datasets, module, not_used, reference, reference_dir, sections

COLUMNS = (
    "section",
    "path",
    "quantity",
    "r_call",
    "ours",
    "numbers",
    "largest_relative_difference",
    "left_out_because",
)


def _ordered(results: list[dict]) -> list[dict]:
    place = {
        (name, key): (i, j) for i, name in enumerate(datasets()) for j, key in enumerate(sections(reference(name)))
    }
    return sorted(results, key=lambda r: place[r["dataset"], r["section"]])


def line(result: dict) -> str:
    """What one section of one data set came to."""
    counts = f"checked {result['checked']} of {result['numbers']}, {sum(result['not_used'].values())} not used"
    return f"{result['dataset']} {result['section']} {counts}"


def lines(results: list[dict]) -> list[str]:
    """One line per data set and section, then the total."""
    checked, numbers = (sum(r[key] for r in results) for key in ("checked", "numbers"))
    unused = sum(sum(r["not_used"].values()) for r in results)
    return [*map(line, _ordered(results)), f"checked {checked} of {numbers} numbers, {unused} not used"]


def complete(results: list[dict]) -> bool:
    """Whether every section of every data set was compared; a part of it must not overwrite the reports."""
    asked = {(name, key) for name in datasets() for key in sections(reference(name))}
    return {(r["dataset"], r["section"]) for r in results} == asked


def table(results: list[dict]) -> list[dict]:
    """One row per quantity, over all data sets, and one per path of `not_used.yaml`."""
    rows = []
    for section in dict.fromkeys(r["section"] for r in _ordered(results)):
        here = [r for r in results if r["section"] == section]
        code = module(section)
        for row in code.ROWS if code else []:
            hits = [r["largest"][row.pattern] for r in here if row.pattern in r["largest"]]
            if hits:
                counted = sum(count for _, count in hits)
                cells = section, row.pattern, row.quantity, row.r, row.ours, counted, _difference(row, hits), ""
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
        for entry in not_used():
            counted = sum(r["not_used"].get(entry.path, 0) for r in here)
            if entry.section == section and counted:
                cells = section, entry.path, "", "", "", counted, "", entry.reason
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def _difference(row, hits) -> str:
    # one digit, and nothing below what another processor's rounding would change
    worst = max(d for d, _ in hits)
    return "exact" if row.exact else "<1e-12" if worst < 1e-12 else f"{worst:.0e}"


def write(results: list[dict]) -> None:
    """Write reports/parity.csv, and PARITY.md from it."""
    rows = table(results)
    with whole_file(ROOT / "reports" / "parity.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(ROOT / "PARITY.md") as path:
        path.write_text("\n".join(_page(results, rows)) + "\n", encoding="utf-8")


def _page(results: list[dict], rows: list[dict]) -> list[str]:
    names = ", ".join(dict.fromkeys(r["dataset"] for r in _ordered(results)))
    inside = reference_dir().is_relative_to(ROOT)
    folder = f"`{display_path(reference_dir())}`" if inside else "the folder named by REFERENCE_DIR"
    page = [
        "# Agreement with R",
        "",
        f"Written by `pytest tests/test_reference.py` from {folder} ({names}).",
        "The same rows are in `reports/parity.csv`. What the study does not use is listed with its reason in",
        "`tests/parity/not_used.yaml`, and at the end of each section.",
        "Agreement means |ours - R| <= 1e-7 |R| + 1e-12, counts exactly; looser bounds are those of",
        "`tests/reference/README.md`.",
        "A relative difference is |ours - R| / (|R| + 1e-5), so that a value of 0 has one too.",
        "",
        f"**{lines(results)[-1]}**",
        "",
        "Not compared, as the README of the reference values says: "
        + ", ".join(f"`{k}` ({why})" for k, why in NOT_COMPARED.items())
        + ".",
        "",
        "| data set | section | checked | of | not used |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {r['dataset']} | {r['section']} | {r['checked']} | {r['numbers']} | {sum(r['not_used'].values())} |"
            for r in _ordered(results)
        ),
    ]
    for section in dict.fromkeys(row["section"] for row in rows):
        page += ["", f"## {section}", "", "| quantity | R | here | numbers | largest relative difference |"]
        page += ["|---|---|---|---:|---|"]
        here = [row for row in rows if row["section"] == section]
        for row in (r for r in here if not r["left_out_because"]):
            cells = [row["quantity"], f"`{row['r_call']}`", f"`{row['ours']}`", str(row["numbers"])]
            page.append(_cells(*cells, row["largest_relative_difference"]))
        if any(row["left_out_because"] for row in here):
            page += ["", "| not used | numbers | because |", "|---|---:|---|"]
            page += [_cells(f"`{r['path']}`", str(r["numbers"]), b) for r in here if (b := r["left_out_because"])]
    return page


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
