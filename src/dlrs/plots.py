"""Axes-level figures in one style: data first, `ax=None`, the axes returned; nothing is computed or saved here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dlrs.results import NOT_SHOWN, masked, shown_count

# Okabe and Ito's colours; one model keeps its colour in every figure.
PALETTE = {
    "Nomogram": "#0072B2",
    "Clinical": "#D55E00",
    "DLRS": "#009E73",
    "DL-prob": "#009E73",
    "T2W": "#CC79A7",
    "ADC": "#E69F00",
    "Treat all": "#7f7f7f",
    "Treat none": "#1c1c1c",
    "low risk": "#0072B2",
    "high risk": "#D55E00",
    "sensitivity": "#0072B2",
    "1 - specificity": "#D55E00",
    "high risk, all": "#0072B2",
    "high risk, with metastasis": "#D55E00",
    "12 months": "#56B4E9",
    "24 months": "#0072B2",
    "36 months": "#1c1c1c",
}
# Widths of a journal's page in inches: text and figures are drawn in the size in which they are printed.
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
LAYOUT = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "figure.constrained_layout.use": True,
}


def style() -> None:
    """Set the one style of all figures."""
    import seaborn as sns  # brings scipy's statistics: seconds, for a page that draws one plain figure

    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=0.82)
    plt.rcParams.update(LAYOUT)


def panel_letter(ax: Axes, letter: str) -> Axes:
    """Write a panel's letter in front of its title, which is set before."""
    ax.set_title(f"{letter}   {ax.get_title(loc='left')}".rstrip(), loc="left")
    return ax


def roc(
    curves: pd.DataFrame,
    *,
    labels: Mapping[str, str],
    by: str = "model",
    title: str = "AUC (95% CI)",
    ax: Axes | None = None,
) -> Axes:
    """Draw ROC curves.

    Parameters
    ----------
    curves
        `false_positive_rate`, `true_positive_rate` and a column `by` that names the curve; points in order.
    labels
        Curve's name to its legend line, which holds its area and interval.
    title
        The legend's title: what the numbers behind the names are.
    """
    ax = ax or plt.gca()
    ax.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, linestyle="--")
    for place, (name, label) in enumerate(labels.items()):
        curve = curves[curves[by] == name]
        rates = curve["false_positive_rate"], curve["true_positive_rate"]
        ax.plot(*rates, color=PALETTE.get(name, f"C{place}"), label=label)
    ax.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.set(xticks=np.arange(0, 1.1, 0.2), yticks=np.arange(0, 1.1, 0.2))
    if labels:
        ax.legend(loc="lower right", handlelength=1.2, title=title, alignment="left", borderpad=0.1)
    return ax


def kaplan_meier(
    fitters: Mapping[str, object],
    *,
    at_risk_months: Sequence[float],
    smallest: int = 0,
    text: str = "",
    ylabel: str = "Distant-metastasis-free survival",
    ax: Axes | None = None,
) -> Axes:
    """Draw Kaplan-Meier curves with intervals, censoring marks and the numbers at risk below.

    Parameters
    ----------
    fitters
        Group's name to a fitted `lifelines.KaplanMeierFitter`.
    at_risk_months
        Times (months) at which the numbers at risk are printed.
    smallest
        Smaller numbers at risk are printed as `<5`, and `-` where the groups' sum would tell one; see `results.masked`.
    text
        Lines below the numbers at risk, such as the hazard ratio and the log-rank P, where no curve or band can lie.
    """
    ax = ax or plt.gca()
    durations = {name: np.asarray(fitter.durations) for name, fitter in fitters.items()}
    at_risk = pd.DataFrame({month: [(of >= month).sum() for of in durations.values()] for month in at_risk_months})
    at_risk = masked(at_risk.assign(all=""), list(at_risk_months), smallest=smallest, within=["all"])
    for place, (name, fitter) in enumerate(fitters.items()):
        color = PALETTE[name]
        curve = fitter.survival_function_.iloc[:, 0]
        band = fitter.confidence_interval_survival_function_
        ax.step(curve.index, curve, where="post", color=color, label=name)
        ax.fill_between(band.index, band.iloc[:, 0], band.iloc[:, 1], step="post", color=color, alpha=0.15, linewidth=0)
        censored = fitter.event_table.index[fitter.event_table["censored"] > 0]
        ax.plot(censored, curve.reindex(censored, method="ffill"), "|", color=color, markersize=4, markeredgewidth=0.7)
        counts = {month: "-" if (n := at_risk[month][place]) == NOT_SHOWN else f"{n}" for month in at_risk_months}
        _at_risk_line(ax, place + 1, name, counts, color=color)
    _at_risk_line(ax, 0, "At risk", {})
    end = max(at_risk_months)
    ax.set(xlabel="Months since surgery", ylabel=ylabel, ylim=(0, 1.02), xlim=(0, end * 1.02), xticks=at_risk_months)
    if fitters:
        ax.legend(loc="lower left", handlelength=1.4, fontsize="small", labelspacing=0.2)
        for line, words in enumerate(text.splitlines()):
            _at_risk_line(ax, len(fitters) + 1.4 + line, words, {}, ha="left")
    else:
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
    return ax


def _at_risk_line(
    ax: Axes, line: float, name: str, counts: Mapping[float, str], color: str = "#1c1c1c", ha: str = "right"
) -> None:
    """Write one line of the table of numbers at risk, counted from the x axis' label downwards."""
    down = dict(textcoords="offset points", va="top", fontsize="small")
    lower = -(30 + 10.5 * line)
    ax.annotate(name, (0, 0), (-14 * (ha == "right"), lower), xycoords="axes fraction", ha=ha, color=color, **down)
    for month, count in counts.items():
        ax.annotate(count, (month, 0), (0, lower), xycoords=ax.get_xaxis_transform(), ha="center", **down)


def threshold_curves(
    frame: pd.DataFrame,
    *,
    y: str,
    labels: Mapping[str, str],
    ylabel: str,
    horizon_months: float,
    by: str = "model",
    highest: float = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw what depends on the risk threshold: net benefit, ROC components or clinical impact.

    Parameters
    ----------
    frame
        `threshold`, the column `y`, a column `by` naming the curve, and
        `lower` and `upper` where a curve has a band.
    labels
        Curve's name to its legend line; an empty line leaves the legend out.
    horizon_months
        The months within which the risk is one of metastasis; the axis says so.
    highest
        Highest risk threshold drawn.
    """
    ax = ax or plt.gca()
    frame = frame[frame["threshold"] <= highest]
    for name, label in labels.items():
        curve = frame[frame[by] == name]
        line = dict(linestyle="--" if name == "Treat all" else "-", linewidth=0.8 if name == "Treat none" else 1.4)
        ax.plot(curve["threshold"], curve[y], color=PALETTE[name], label=label, **line)
        if "lower" in curve and curve["lower"].notna().any():
            band = dict(color=PALETTE[name], alpha=0.15, linewidth=0)
            ax.fill_between(curve["threshold"], curve["lower"], curve["upper"], **band)
    ax.set(xlabel=f"Risk threshold (metastasis within {horizon_months:g} months)", ylabel=ylabel, xlim=(0, highest))
    if any(labels.values()):
        ax.legend(loc="upper right", handlelength=1.6)
    return ax


def cost_benefit_axis(ax: Axes) -> Axes:
    """Write below an axis of risk thresholds the ratio of cost to benefit, threshold : 1 - threshold."""
    ratios = {1 / 11: "1:10", 1 / 5: "1:4", 1 / 3: "1:2", 1 / 2: "1:1", 2 / 3: "2:1", 4 / 5: "4:1"}
    labels = {at: text for at, text in ratios.items() if at <= ax.get_xlim()[1]}
    below = ax.secondary_xaxis(-0.3)
    below.set_xticks(list(labels), list(labels.values()))
    below.set_xlabel("Cost : benefit")
    return ax


def nomogram(scales: Sequence[Mapping], *, ax: Axes | None = None) -> Axes:
    """Draw a nomogram: one horizontal scale a row, all read vertically.

    Parameters
    ----------
    scales
        From top to bottom: `label`; `position` of each tick on the row's own
        width, 0 to 1; `text` of each tick; `minor`, positions of unlabelled
        ticks, may be left out. A number that has no room is left out; a level
        moves to a second line.
    """
    ax = ax or plt.gca()
    rows = len(scales)
    for place, scale in enumerate(scales):
        y = rows - place
        positions = np.asarray(scale["position"], dtype=float)
        ends = np.concatenate([positions, np.asarray(scale.get("minor", []), dtype=float)])
        ax.plot([ends.min(), ends.max()], [y, y], color="#1c1c1c", linewidth=1.0)
        for minor in scale.get("minor", []):
            ax.plot([minor, minor], [y, y + 0.10], color="#1c1c1c", linewidth=0.5)
        taken = [-np.inf, -np.inf]  # right end of the last label on each line
        for x, text in sorted(zip(positions, scale["text"], strict=True)):
            ax.plot([x, x], [y, y + 0.2], color="#1c1c1c", linewidth=0.9)
            half = 0.006 * len(str(text)) + 0.006
            line = 0 if x - half > taken[0] else 1
            if line and str(text).replace(".", "").isdigit():
                continue
            taken[line] = x + half
            above = dict(va="bottom") if place == 0 else dict(va="top")
            ax.text(x, y + 0.27 if place == 0 else y - 0.1 - 0.3 * line, text, ha="center", **above)
        ax.text(-0.03, y, scale["label"], ha="right", va="center", fontweight="bold")
    ax.set(xlim=(-0.34, 1.03), ylim=(0.3, rows + 0.8))
    ax.axis("off")
    return ax


def flow(counts: pd.DataFrame, *, smallest: int = 0, ax: Axes | None = None) -> Axes:
    """Draw a recruitment flow, one column a cohort, one box a step.

    Parameters
    ----------
    counts
        `step`, `kind`, `cohort`, `n`, steps in order. `kind` is "included" (a box of the main path), "excluded" (a
        box to its right) or "outcome" (the last line of the box above).
    smallest
        Smaller numbers are drawn as `<5`.
    """
    ax = ax or plt.gca()
    line = dict(color="#1c1c1c", linewidth=0.8, zorder=0)
    for column, (name, steps) in enumerate(counts.groupby("cohort", sort=False)):
        ax.text(column + 0.26, 0.62, f"{name.capitalize()} cohort", ha="center", va="bottom", fontweight="bold")
        boxes = steps[steps["kind"] != "outcome"].reset_index(drop=True)
        outcome = "".join(
            f"\n{r.step}: {shown_count(r.n, smallest)}" for r in steps[steps["kind"] == "outcome"].itertuples()
        )
        last = boxes.index[boxes["kind"] == "included"].max()
        ax.plot([column + 0.26] * 2, [0, -last], **line)
        for place, step in boxes.iterrows():
            aside = step["kind"] == "excluded"
            x, width = column + (0.76 if aside else 0.26), 0.40 if aside else 0.48
            if aside:
                ax.plot([column + 0.26, x], [-place, -place], **line)
            frame = plt.Rectangle((x - width / 2, -place - 0.36), width, 0.72, facecolor="white", edgecolor="#1c1c1c")
            ax.add_patch(frame)
            text = textwrap.fill(step["step"], 22 if aside else 27)
            text += f"\nn = {shown_count(step['n'], smallest)}" + (outcome if place == last else "")
            ax.text(x, -place, text, ha="center", va="center", fontsize="small")
    ax.set(xlim=(0, counts["cohort"].nunique()), ylim=(-counts["step"].nunique() + 1.3, 1))
    ax.axis("off")
    return ax


def calibration(
    curve: pd.DataFrame,
    quarters: pd.DataFrame | None,
    risk: Sequence[float],
    *,
    color: str = "C0",
    ax: Axes | None = None,
) -> Axes:
    """Draw observed against predicted risk: smooth curve with band, groups with intervals, and the predicted risks.

    Parameters
    ----------
    curve
        predicted, observed, lower, upper, from `dlrs.stats.calibration.calibration_band`; may be empty.
    quarters
        mean_predicted, observed, lower, upper, from `dlrs.stats.calibration.grouped_calibration`, or None.
    risk
        The patients' predicted risks, drawn as a rug.
    """
    ax = ax or plt.gca()
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--")
    ax.fill_between(curve["predicted"], curve["lower"], curve["upper"], color=color, alpha=0.2, lw=0)
    ax.plot(curve["predicted"], curve["observed"], color=color)
    if quarters is not None:
        known = quarters.dropna(subset=["lower", "upper"])
        spread = np.clip([known["observed"] - known["lower"], known["upper"] - known["observed"]], 0, None)
        ax.errorbar(known["mean_predicted"], known["observed"], spread, fmt="o", ms=3, lw=0.8, color=color)
    ax.vlines(risk, -0.06, -0.02, color="0.4", lw=0.3)
    ax.set(xlim=(0, 1), ylim=(-0.06, 1), aspect="equal", xlabel="Predicted risk", ylabel="Observed risk")
    return ax


def forest(
    frame: pd.DataFrame, *, value: str, label: str, offset: float = 0.0, ax: Axes | None = None, **style
) -> Axes:
    """Draw estimates with their intervals, one row each, from the bottom.

    Parameters
    ----------
    frame
        `label` of each row, `value`, and its limits `<value>_lower` and `<value>_upper`.
    label
        What this set of estimates is called in the legend.
    offset
        By how much it is moved upwards, so that a second set of the same rows can be drawn.
    """
    ax = ax or plt.gca()
    y, x = np.arange(len(frame)) + offset, frame[value].to_numpy()
    error = np.abs(np.array([frame[f"{value}_lower"], frame[f"{value}_upper"]]) - x)
    ax.errorbar(x, y, xerr=error, fmt="o", ms=3.5, lw=1, label=label, **style)
    ax.set_yticks(np.arange(len(frame)), frame["label"])
    return ax


def columns_beside(ax: Axes, columns: Mapping[str, Sequence]) -> Axes:
    """Write columns of text to the right of a forest's rows, from the bottom, each below its heading in bold."""
    right = 0.0
    for heading, texts in columns.items():
        written = [str(text) for text in texts]
        width = 3.6 * max(len(heading) + 1, *map(len, written), 4) + 6  # points, of letters 7 points high
        for row, text in enumerate([*written, heading]):
            weight = "bold" if row == len(written) else "normal"
            place = dict(xycoords=ax.get_yaxis_transform(), textcoords="offset points", ha="center", va="center")
            ax.annotate(text, (1, row), (right + width / 2, 0), fontsize="small", fontweight=weight, **place)
        right += width
    return ax


def published_and_rerun(frame: pd.DataFrame, *, label: str, ax: Axes | None = None) -> Axes:
    """Draw published and rerun estimates with their intervals, one row each, from the top.

    Parameters
    ----------
    frame
        `item`, `published`, `published_lower`, `published_upper`, `value`,
        `lower`, `upper`; a limit may be missing. The same scale for all rows.
    label
        What the rerun is called in the legend, with its class.
    """
    ax = ax or plt.gca()
    place = -np.arange(len(frame), dtype=float)
    sides = {
        "published": (
            "published (Liu et al. 2021)",
            "published_lower",
            "published_upper",
            0.16,
            "#7f7f7f",
            "D",
            "white",
        ),
        "value": (label, "lower", "upper", -0.16, PALETTE["Nomogram"], "o", PALETTE["Nomogram"]),
    }
    for column, (name, lower, upper, shift, color, marker, inside) in sides.items():
        ax.hlines(place + shift, frame[lower], frame[upper], color=color, linewidth=1.4)
        ax.plot(frame[column], place + shift, marker, color=color, markerfacecolor=inside, markersize=4.5, label=name)
    ax.set(yticks=place, ylim=(-len(frame) + 0.4, 0.8))
    ax.set_yticklabels(frame["item"])
    ax.grid(axis="x", color="#e3e3e3", linewidth=0.7)
    ax.set_axisbelow(True)
    return ax
