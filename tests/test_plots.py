"""Figures draw what they are given and nothing else."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter

import figure_faults
from dlrs import plots


@pytest.fixture
def ax():
    plots.style()
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_roc_draws_each_curve_in_its_models_colour(ax):
    rates = {"false_positive_rate": [0.0, 1.0, 0.5], "true_positive_rate": [0.0, 1.0, 0.7]}
    curves = pd.DataFrame({"model": ["T2W", "T2W", "ADC"], **rates})
    assert plots.roc(curves, labels={"T2W": "T2W 0.5", "ADC": "ADC 0.6"}, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["T2W 0.5"].get_color() == plots.PALETTE["T2W"]
    np.testing.assert_array_equal(lines["ADC 0.6"].get_xydata(), [[0.5, 0.7]])


def test_numbers_at_risk_count_those_followed_at_least_so_long(ax):
    # Times 5, 12, 12, 30: at 12 months three are still at risk (an event at 12 counts), at 24 one.
    fitter = KaplanMeierFitter().fit([5, 12, 12, 30], [1, 1, 0, 0])
    plots.kaplan_meier({"low risk": fitter}, at_risk_months=[0, 12, 24], text="log-rank P = 0.500", ax=ax)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["low risk", "4", "3", "1", "At risk", "log-rank P = 0.500"]
    below = next(text for text in ax.texts if text.get_text().startswith("log-rank"))
    assert below.get_window_extent().y1 < min(text.get_window_extent().y0 for text in ax.texts[:4])


def test_threshold_curves_have_bands_only_where_given(ax):
    frame = pd.DataFrame(
        {
            "model": ["Nomogram", "Nomogram", "Treat all", "Treat all"],
            "threshold": [0.0, 0.5, 0.0, 0.5],
            "value": [0.3, 0.2, 0.3, -0.2],
            "lower": [0.2, 0.1, np.nan, np.nan],
            "upper": [0.4, 0.3, np.nan, np.nan],
        }
    )
    about = dict(labels={"Nomogram": "N", "Treat all": "A"}, ylabel="Net benefit", horizon_months=24.0)
    plots.threshold_curves(frame, y="value", **about, ax=ax)
    assert len(ax.collections) == 1
    assert ax.get_xlabel() == "Risk threshold (metastasis within 24 months)"
    assert [line.get_linestyle() for line in ax.get_lines()] == ["-", "--"]


def test_threshold_curves_end_where_they_are_asked_to_and_name_the_ratio_of_cost_to_benefit(ax):
    frame = pd.DataFrame({"model": "Nomogram", "threshold": [0.0, 0.5, 0.9], "value": [0.3, 0.2, 9.0]})
    about = dict(labels={"Nomogram": "N"}, ylabel="Net benefit", horizon_months=36.0, highest=0.6)
    plots.cost_benefit_axis(plots.threshold_curves(frame, y="value", **about, ax=ax))
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), [[0, 0.3], [0.5, 0.2]])
    assert ax.get_xlim() == (0, 0.6) and ax.get_ylim()[1] < 1
    (below,) = ax.child_axes
    # a threshold of 0.2 weighs 0.8 of benefit against 0.2 of cost
    placed = dict(zip((t.get_text() for t in below.get_xticklabels()), below.get_xticks(), strict=True))
    assert placed["1:4"] == 0.2 and placed["1:1"] == 0.5 and "2:1" not in placed
    ax.figure.draw_without_rendering()
    assert not figure_faults.faults(ax.figure)


def test_a_nomogram_puts_ticks_where_they_belong(ax):
    scales = [
        {"label": "Points", "position": [0, 0.5, 1], "text": ["0", "50", "100"], "minor": [0.25]},
        {"label": "CEA", "position": [0, 0.3], "text": ["Normal", "Elevated"]},
    ]
    plots.nomogram(scales, ax=ax)
    placed = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert placed["50"] == 0.5 and placed["Elevated"] == 0.3


def test_a_flow_leads_down_past_those_who_leave(ax):
    rows = [("included", "Patients", 10), ("excluded", "Left out: no age", 2), ("included", "Included", 8)]
    rows += [("outcome", "metastasis", 3)]
    counts = pd.DataFrame(
        [dict(kind=kind, step=step, cohort=name, n=n) for kind, step, n in rows for name in ("primary", "validation")]
    )
    plots.flow(counts, smallest=5, ax=ax)
    title, *boxes = ax.texts[:4]
    assert title.get_text() == "Primary cohort" and ax.texts[4].get_text() == "Validation cohort"
    written = ["Patients\nn = 10", "Left out: no age\nn = <5", "Included\nn = 8\nmetastasis: <5"]
    assert [box.get_text() for box in boxes] == written
    assert boxes[1].get_position()[0] > boxes[0].get_position()[0] == boxes[2].get_position()[0]
    main, aside = (line.get_xydata() for line in ax.get_lines()[:2])
    assert main[0][1] == 0 and main[1][1] == -2 and aside[1][0] == boxes[1].get_position()[0]  # lines reach their boxes


def test_a_nomogram_leaves_out_numbers_without_room_and_no_level(ax):
    near = dict(position=[0, 0.01, 1])
    plots.nomogram(
        [dict(label="Age", text=["0.1", "0.2", "9"], **near), dict(label="N", text=["N0", "N1", "N2"], **near)], ax=ax
    )
    written = [text.get_text() for text in ax.texts]
    assert "0.2" not in written and {"0.1", "9", "N0", "N1", "N2"} <= set(written)


def test_a_panels_letter_stands_inside_the_canvas_before_its_title(ax):
    ax.set_title("T2W")
    plots.panel_letter(ax, "a")
    assert ax.get_title(loc="left") == "a   T2W"
    assert not figure_faults.faults(ax.figure)


@pytest.mark.parametrize(
    ("fault", "draw"),
    [
        ("lies on", lambda ax: [ax.text(0.5, 0.5, "first"), ax.text(0.51, 0.5, "second")]),
        ("is cut off", lambda ax: ax.figure.text(0.98, 0.5, "beyond the edge")),
        ("is written in 4.0 points", lambda ax: ax.text(0.5, 0.5, "tiny", fontsize=4)),
        (
            "is wider than its panel",
            lambda ax: [ax.plot([1], label="a long label " * 12), ax.legend(loc="lower right")],
        ),
        (
            "lies on the line",
            lambda ax: [ax.plot([0, 1], [0, 1], label="risk"), ax.legend(loc="center")],
        ),
        ("lies on a band", lambda ax: [ax.fill_between([0, 1, 2], 0, 1, label="CI"), ax.legend(loc="center")]),
        ("inches wide", lambda ax: ax.figure.set_figwidth(10)),
        ("2 of 2 panels have no letter", lambda ax: ax.figure.add_subplot(122)),
        ("has a hyphen for a minus sign", lambda ax: ax.set_xlabel("1 - specificity")),
        ("writes P in another way", lambda ax: ax.set_title("log-rank P <0.0001")),
        ("has a space before the percent sign", lambda ax: ax.set_title("52 %")),
        ("shows a column's raw name", lambda ax: ax.set_title("dl_prob")),
    ],
)
def test_what_makes_a_figure_unprintable_is_found(ax, fault, draw):
    draw(ax)
    assert any(fault in sentence for sentence in figure_faults.faults(ax.figure))


def test_columns_beside_a_forest_stand_at_their_rows_without_touching(ax):
    rows = pd.DataFrame({"label": ["cT4", "cT3"], "hr": [2.0, 3.0], "hr_lower": [1.0, 2.0], "hr_upper": [4.0, 5.0]})
    plots.forest(rows, value="hr", label="HR", ax=ax).set_ylim(-0.7, 2.3)
    plots.columns_beside(ax, {"n": [76, 159], "HR (95% CI)": ["2.00 (1.00 to 4.00)", "3.00 (2.00 to 5.00)"]})
    placed = {text.get_text(): text.xy for text in ax.texts}
    assert placed["159"] == placed["3.00 (2.00 to 5.00)"] == (1, 1) and placed["n"] == (1, 2)
    assert not figure_faults.faults(ax.figure)


def test_published_and_rerun_stand_in_one_row_each_from_the_top(ax):
    frame = pd.DataFrame({"item": ["C", "AUC"], "published": [0.8, 0.9], "published_lower": [0.7, np.nan]})
    frame = frame.assign(published_upper=[0.9, np.nan], value=[0.6, 0.7], lower=[0.5, 0.6], upper=[0.7, 0.8])
    plots.published_and_rerun(frame, label="this run (SYNTHETIC)", ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["C", "AUC"] and list(ax.get_yticks()) == [0, -1]
    points = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    np.testing.assert_allclose(points["this run (SYNTHETIC)"], [[0.6, -0.16], [0.7, -1.16]])
    np.testing.assert_allclose(points["published (Liu et al. 2021)"], [[0.8, 0.16], [0.9, -0.84]])
    published, rerun = ax.collections
    assert len(rerun.get_segments()) == 2
    np.testing.assert_allclose(published.get_segments()[0], [[0.7, 0.16], [0.9, 0.16]])


def test_calibration_is_square_with_the_risks_below(ax):
    curve = pd.DataFrame({"predicted": [0.1, 0.5], "observed": [0.2, 0.4], "lower": [0.1, 0.3], "upper": [0.3, 0.6]})
    quarters = pd.DataFrame({"mean_predicted": [0.2], "observed": [0.3], "lower": [0.2], "upper": [0.5]})
    plots.calibration(curve, quarters, [0.1, 0.2, 0.5], ax=ax)
    assert ax.get_aspect() == 1 and ax.lines[1].get_ydata().tolist() == [0.2, 0.4]
    rug = next(c for c in ax.collections if len(c.get_paths()) == 3 and len(c.get_segments()[0]) == 2)
    assert max(segment[:, 1].max() for segment in rug.get_segments()) < 0
