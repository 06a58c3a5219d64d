"""The lines that the parity test prints, and reports/parity.csv and PARITY.md."""

from __future__ import annotations

import csv

from dlrs.config import ROOT, display_path, whole_file
from parity import NOT_COMPARED, datasets, module, reference, reference_dir, sections


def _ordered(results: list[dict]) -> list[dict]:
    place = {
        (name, key): (i, j) for i, name in enumerate(datasets()) for j, key in enumerate(sections(reference(name)))
    }
    return sorted(results, key=lambda r: place[r["dataset"], r["section"]])


def lines(results: list[dict]) -> list[str]:
    """One line per data set and section, then the total."""
    out = [f"{r['dataset']} {r['section']} checked {r['checked']} of {r['numbers']}" for r in _ordered(results)]
    total = f"checked {sum(r['checked'] for r in results)} of {sum(r['numbers'] for r in results)} numbers"
    return [*out, total]


def complete(results: list[dict]) -> bool:
    """Whether every section of every data set was compared; a part of it must not overwrite the reports."""
    asked = {(name, key) for name in datasets() for key in sections(reference(name))}
    return {(r["dataset"], r["section"]) for r in results} == asked


def table(results: list[dict]) -> list[dict]:
    """One row per quantity, over all data sets."""
    rows = []
    for section in dict.fromkeys(r["section"] for r in _ordered(results)):
        here = [r for r in results if r["section"] == section]
        code = module(section)
        for row in code.ROWS if code else []:
            hits = [r["largest"][row.pattern] for r in here if row.pattern in r["largest"]]
            left_out = any(row.pattern in r["left_out"] for r in here)
            if hits or left_out:
                rows.append(
                    {
                        "section": section,
                        "path": row.pattern,
                        "quantity": row.quantity,
                        "r_call": row.r,
                        "ours": row.ours,
                        "numbers": sum(count for _, count in hits),
                        "largest_relative_difference": _difference(row, hits),
                        "left_out_because": row.left_out,
                    }
                )
    return rows


def _difference(row, hits) -> str:
    # one digit, and nothing below what another processor's rounding would change
    worst = max((d for d, _ in hits), default=None)
    if worst is None:
        return ""
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
        "The same rows are in `reports/parity.csv`.",
        "Agreement means |ours - R| <= 1e-7 |R| + 1e-12, counts exactly; looser bounds are those of",
        "`tests/reference/README.md`.",
        "A relative difference is |ours - R| / (|R| + 1e-5), so that a value of 0 has one too.",
        "",
        f"**{lines(results)[-1]}**",
        "",
        "Not compared, as the README of the reference values says: "
        + ", ".join(f"`{k}` ({why})" for k, why in NOT_COMPARED.items())
        + ", limits and p of `IDI.INF` (random).",
        "",
        "| data set | section | checked | of |",
        "|---|---|---:|---:|",
        *(f"| {r['dataset']} | {r['section']} | {r['checked']} | {r['numbers']} |" for r in _ordered(results)),
    ]
    for section in dict.fromkeys(row["section"] for row in rows):
        page += ["", f"## {section}", "", "| quantity | R | here | numbers | largest relative difference |"]
        page += ["|---|---|---|---:|---|"]
        for row in (r for r in rows if r["section"] == section):
            last = row["largest_relative_difference"] or f"left out: {row['left_out_because']}"
            cells = [row["quantity"], f"`{row['r_call']}`", f"`{row['ours']}`", str(row["numbers"]), last]
            page.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return page
