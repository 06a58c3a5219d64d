"""Somebody's table of predictions: what cannot be is named with its row and remedy, what is strange is a warning."""

import numpy as np
import pandas as pd
import pytest

from dlrs import predictions

N = 60


@pytest.fixture
def frame():
    """Sixty patients with exponential times whose rate follows a marker, of two cohorts."""
    draw = np.random.default_rng(7)
    marker = draw.normal(size=N)
    until, lost = draw.exponential(900 * np.exp(-marker)), draw.uniform(300, 2000, N)
    risk = 1 - np.exp(-730 / 900 * np.exp(marker))
    table = {"patient": [f"P{i:03d}" for i in range(N)], "days": np.ceil(np.minimum(until, lost)).astype(int)}
    table |= {"event": (until <= lost).astype(int), "risk": risk.round(6), "marker": marker.round(6)}
    return pd.DataFrame(table | {"cohort": ["training"] * 40 + ["external"] * 20, "age": draw.integers(40, 80, N)})


def roles(**changed):
    said = dict(time="days", time_unit="days", event="event", horizon=730.0, risk=["risk"], id="patient")
    return predictions.Roles(**(said | dict(cohort="cohort") | changed))


def read(tmp_path, frame, name="table.csv", **changed):
    path = tmp_path / name
    write = {".csv": frame.to_csv, ".xlsx": frame.to_excel, ".parquet": frame.to_parquet}[path.suffix]
    write(path, index=False, **({"engine": "fastparquet"} if path.suffix == ".parquet" else {}))
    return predictions.read(path, roles(**changed))


def refused(tmp_path, frame, **changed):
    """Return the one finding of a table that is refused."""
    with pytest.raises(predictions.Findings) as error:
        read(tmp_path, frame, **changed)
    assert len(error.value.findings) == 1, str(error.value)
    found = error.value.findings[0]
    assert found.text("table.csv") in str(error.value) and found.remedy.endswith((".", "?"))
    return found


def warned(tmp_path, frame, **changed):
    return {warning.code: warning for warning in read(tmp_path, frame, **changed).warnings}


def test_a_right_table_is_read_without_a_word(tmp_path, frame):
    table = read(tmp_path, frame, clinical=["age"])
    assert {warning.code for warning in table.warnings} <= {"few-events"}
    assert len(table.patients) == N and table.left_out.empty and table.kinds == {"risk": "risk"}
    assert table.patients["time"].tolist() == frame["days"].tolist()
    assert table.patients["event"].tolist() == (frame["event"] == 1).tolist()
    assert table.predictions["risk"].tolist() == frame["risk"].tolist()
    assert table.patients["row"].tolist() == list(range(2, N + 2))


@pytest.mark.parametrize("name", ["table.xlsx", "table.parquet"])
def test_other_kinds_of_file_are_read_like_csv(tmp_path, frame, name):
    frame["age"] = frame["age"].astype("Int64").mask(frame.index == 3)
    one, other = read(tmp_path, frame, clinical=["age"]), read(tmp_path, frame, name=name, clinical=["age"])
    for part in ("patients", "predictions", "clinical", "left_out"):
        pd.testing.assert_frame_equal(getattr(one, part), getattr(other, part))


def test_an_index_saved_in_a_parquet_file_is_a_column(tmp_path, frame):
    frame.set_index("patient").to_parquet(tmp_path / "table.parquet", engine="fastparquet")
    assert len(predictions.read(tmp_path / "table.parquet", roles()).patients) == N


def test_semicolons_and_a_byte_order_mark_are_read(tmp_path, frame):
    path = tmp_path / "table.csv"
    frame.to_csv(path, sep=";", index=False, encoding="utf-8-sig")
    assert len(predictions.read(path, roles()).patients) == N


def test_numbers_are_read_to_the_last_digit(tmp_path, frame):
    frame["risk"] = 1 - np.exp(-np.exp(frame["marker"]))
    assert read(tmp_path, frame).predictions["risk"].tolist() == frame["risk"].tolist()


def test_survival_is_turned_into_risk_and_a_score_is_kept(tmp_path, frame):
    frame["free"] = 1 - frame["risk"]
    table = read(tmp_path, frame, risk=[], survival=["free"], score=["marker"])
    assert np.allclose(table.predictions["free"], frame["risk"])
    assert table.predictions["marker"].tolist() == frame["marker"].tolist()
    assert table.kinds == {"free": "risk", "marker": "score"}


def test_rows_without_time_event_prediction_or_cohort_are_left_out_by_row(tmp_path, frame):
    frame = frame.astype(object)
    frame.loc[3, "days"], frame.loc[5, "event"], frame.loc[8, "risk"], frame.loc[9, "cohort"] = "", "NA", np.nan, ""
    table = read(tmp_path, frame)
    assert table.left_out.to_dict("list") == {
        "row": [5, 7, 10, 11],
        "reason": ["no days", "no event", "no risk", "no cohort"],
    }
    assert len(table.patients) == N - 4 and not {5, 7, 10, 11} & set(table.patients["row"])


def test_competing_causes_need_their_code(tmp_path, frame):
    frame.loc[frame.index[frame["event"] == 0][:3], "event"] = 2
    found = refused(tmp_path, frame)
    assert (found.code, found.column) == ("event-code", "event") and "3 rows" in found.found
    table = read(tmp_path, frame, codes={"censored": [0], "event": [1], "competing": [2]})
    assert (table.patients["state"] == 2).sum() == 3 and not table.patients["event"][table.patients["state"] == 2].any()
    outlived = predictions.discrimination_times(table.patients)
    assert (outlived[table.patients["state"] == 2] > table.patients["time"].max()).all()


# ---------------------------------------------------------------- planted mistakes that stop


def test_the_file_is_missing(tmp_path):
    with pytest.raises(predictions.Findings, match="there is no such file"):
        predictions.read(tmp_path / "none.csv", roles())


def test_a_damaged_parquet_file(tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(predictions.Findings, match="it cannot be read.*Save the table as CSV") as error:
        predictions.read(tmp_path / "table.parquet", roles())
    assert error.value.findings[0].code == "unreadable"


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "table.sav").write_bytes(b"$FL2")
    with pytest.raises(predictions.Findings, match=r"its ending is \.sav; expected \.csv, \.tsv, \.xlsx or \.parquet"):
        predictions.read(tmp_path / "table.sav", roles())
    with pytest.raises(predictions.Findings) as error:
        predictions.read(tmp_path / "table.sav", roles())
    assert [finding.code for finding in error.value.findings] == ["file-kind"]


@pytest.mark.parametrize("text", ["", "patient,days,event,risk,cohort\n", "\n"])
def test_an_empty_table(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(predictions.Findings) as error:
        predictions.read(tmp_path / "table.csv", roles())
    assert error.value.findings[0].code == "empty"


def test_two_columns_of_one_name(tmp_path, frame):
    path = tmp_path / "table.csv"
    path.write_text(frame.to_csv(index=False).replace("marker", "risk", 1))
    with pytest.raises(predictions.Findings, match="column risk: two columns have this name"):
        predictions.read(path, roles())


def test_a_row_with_too_many_cells(tmp_path, frame):
    path = tmp_path / "table.csv"
    lines = frame.to_csv(index=False).splitlines()
    path.write_text("\n".join([*lines[:5], lines[5].replace("0.", "0,"), *lines[6:]]))
    with pytest.raises(predictions.Findings, match="more cells than the header"):
        predictions.read(path, roles())


def test_a_column_that_is_not_there(tmp_path, frame):
    found = refused(tmp_path, frame, risk=["rissk"])
    assert (found.code, found.column, found.remedy) == ("column-missing", "rissk", "Did you mean risk?")


def test_a_column_named_for_two_things(tmp_path, frame):
    assert refused(tmp_path, frame, risk=["event"]).code == "column-twice"


def test_no_prediction_is_named(tmp_path, frame):
    assert refused(tmp_path, frame, risk=[]).code == "no-prediction"


def test_the_unit_is_never_guessed(tmp_path, frame):
    assert refused(tmp_path, frame, time_unit="").code == "time-unit"


def test_days_given_as_months(tmp_path, frame):
    found = refused(tmp_path, frame, time_unit="months", horizon=24.0)
    assert (found.code, found.column) == ("time-unit", "days") and "these look like days" in found.remedy


@pytest.mark.parametrize("horizon", [0, -1.0, float("nan"), "730"])
def test_a_horizon_that_is_none(tmp_path, frame, horizon):
    assert refused(tmp_path, frame, horizon=horizon).code == "horizon"


def test_a_horizon_past_follow_up(tmp_path, frame):
    found = refused(tmp_path, frame, horizon=5000.0)
    assert found.code == "horizon-late" and f"{frame['days'].max()} days" in found.found


def test_a_horizon_before_the_first_event(tmp_path, frame):
    assert refused(tmp_path, frame, horizon=0.5).code == "horizon-early"


def test_the_event_coded_1_and_2(tmp_path, frame):
    frame["event"] += 1
    found = refused(tmp_path, frame)
    assert found.code == "event-12" and "codes: {censored: 1, event: 2}" in found.remedy
    assert (
        read(tmp_path, frame, codes={"censored": 1, "event": 2}).patients["event"].sum() == (frame["event"] == 2).sum()
    )


def test_the_event_in_words(tmp_path, frame):
    frame["event"] = frame["event"].map({0: "alive", 1: "dead"})
    found = refused(tmp_path, frame)
    assert (found.code, found.row) == ("event-code", 2) and repr(frame["event"][0]) in found.found


@pytest.mark.parametrize(("value", "code"), [(0, "no-event"), (1, "one-class")])
def test_one_class(tmp_path, frame, value, code):
    frame["event"] = value
    assert refused(tmp_path, frame).code == code


def test_a_negative_time(tmp_path, frame):
    frame.loc[10, "days"] = -3
    found = refused(tmp_path, frame)
    assert (found.code, found.row, found.column) == ("negative", 12, "days") and "-3" in found.found


def test_an_event_at_time_zero(tmp_path, frame):
    row = frame.index[frame["event"] == 1][0]
    frame.loc[row, "days"] = 0
    assert (found := refused(tmp_path, frame)).code == "event-at-zero" and found.row == row + 2


def test_percents_as_probabilities(tmp_path, frame):
    frame["risk"] *= 100
    found = refused(tmp_path, frame)
    assert found.code == "percent" and found.remedy == "Divide them by 100."


def test_a_score_given_as_risk(tmp_path, frame):
    found = refused(tmp_path, frame, risk=["marker"])
    assert found.code == "no-probability" and "--score" in found.remedy


def test_a_constant_score(tmp_path, frame):
    frame["marker"] = 2.5
    found = refused(tmp_path, frame, score=["marker"])
    assert (found.code, found.column) == ("constant", "marker")


def test_a_prediction_that_is_the_event(tmp_path, frame):
    frame["risk"] = frame["event"]
    assert refused(tmp_path, frame).code == "is-the-event"


def test_text_in_numbers(tmp_path, frame):
    frame = frame.astype(object)
    frame.loc[4, "days"] = "12 months"
    found = refused(tmp_path, frame)
    assert (found.code, found.row, found.column) == ("text", 6, "days") and "'12 months'" in found.found


def test_decimal_commas(tmp_path, frame):
    frame["risk"] = frame["risk"].map(lambda x: f"{x:.4f}".replace(".", ","))
    found = refused(tmp_path, frame)
    assert (found.code, found.row) == ("decimal-comma", 2) and f"{N} rows" in found.found
    assert "`decimal: ','`" in found.remedy


def test_decimal_commas_that_are_announced_are_read(tmp_path, frame):
    points = read(tmp_path, frame)
    frame.to_csv(tmp_path / "table.csv", sep=";", decimal=",", index=False)
    commas = predictions.read(tmp_path / "table.csv", roles(decimal=","))
    assert commas.predictions.equals(points.predictions) and commas.patients.equals(points.patients)
    assert refused(tmp_path, frame, decimal=";").code == "decimal"


def test_percent_signs(tmp_path, frame):
    frame["risk"] = frame["risk"].map(lambda x: f"{100 * x:.1f}%")
    found = refused(tmp_path, frame)
    assert (found.code, found.row) == ("percent", 2) and "divide by 100" in found.remedy


def test_dates_as_times(tmp_path, frame):
    frame["days"] = "2021-03-04"
    assert refused(tmp_path, frame).code == "date"


def test_infinite_predictions(tmp_path, frame):
    frame.loc[2, "risk"] = np.inf
    with pytest.raises(predictions.Findings) as error:
        read(tmp_path, frame)
    assert error.value.findings[0].code == "infinite" and error.value.findings[0].row == 4


def test_a_patient_twice(tmp_path, frame):
    frame.loc[7, "patient"] = "P002"
    found = refused(tmp_path, frame)
    assert (found.code, found.row) == ("patient-twice", 4) and "2 rows: 4, 9" in found.found
    assert "P002" not in found.text(), "a finding names rows, not patients"


def test_a_patient_in_two_cohorts(tmp_path, frame):
    frame.loc[50, "patient"] = "P002"
    assert (found := refused(tmp_path, frame)).code == "two-cohorts" and "2 rows: 4, 52" in found.found


def test_a_column_of_many_cohorts(tmp_path, frame):
    found = refused(tmp_path, frame, cohort="patient", id="")
    assert (found.code, found.column) == ("cohorts", "patient") and "--centre" in found.remedy


def test_a_code_with_two_meanings(tmp_path, frame):
    found = refused(tmp_path, frame, codes={"censored": [0, 1], "event": 1})
    assert found.code == "codes" and found.found == "1 has two meanings"


def test_every_prediction_is_missing(tmp_path, frame):
    frame["risk"] = np.nan
    found = refused(tmp_path, frame)
    assert (found.code, found.column) == ("nothing-left", "risk")


def test_all_findings_are_listed_at_once(tmp_path, frame):
    frame.loc[10, "days"], frame.loc[3, "risk"] = -3, 7
    with pytest.raises(predictions.Findings) as error:
        read(tmp_path, frame)
    assert {f.code for f in error.value.findings} == {"negative", "no-probability"}


# ---------------------------------------------------------------- what is only strange


def test_survival_given_as_risk(tmp_path, frame):
    frame["risk"] = 1 - frame["risk"]
    found = warned(tmp_path, frame)["direction"]
    assert found.remedy == "Is it survival (--survival)?" and "below chance" in found.found


def test_risk_given_as_survival(tmp_path, frame):
    assert warned(tmp_path, frame, risk=[], survival=["risk"])["direction"].remedy == "Is it a risk (--risk)?"


def test_a_reversed_score(tmp_path, frame):
    frame["marker"] = -frame["marker"]
    assert "negative" in warned(tmp_path, frame, score=["marker"])["direction"].remedy


def test_a_prediction_made_from_the_outcome(tmp_path, frame):
    frame["marker"] = 1 / frame["days"]
    assert "C is 1" in warned(tmp_path, frame, score=["marker"])["outcome"].found
    frame["days"] = (frame["days"] / 40).round() * 40 + 1  # so that times tie
    assert "nearly every pair" in warned(tmp_path, frame, score=["marker"])["outcome"].found


def test_a_prediction_made_from_the_state_at_the_horizon(tmp_path, frame):
    frame["marker"] = np.where((frame["event"] == 1) & (frame["days"] <= 730), 2.0, 1.0) + frame["risk"] / 10
    assert "separates those with the event" in warned(tmp_path, frame, score=["marker"])["outcome"].found


def test_a_constant_risk_is_allowed_as_a_model_that_knows_nothing(tmp_path, frame):
    frame["null"] = 0.5
    assert "constant" in warned(tmp_path, frame, risk=["risk", "null"])


def test_two_predictions_that_are_one(tmp_path, frame):
    frame["again"], frame["free"] = frame["risk"], 1 - frame["risk"]
    found = warned(tmp_path, frame, risk=["risk", "again"])["alike"]
    assert found.column == "again" and "equals risk in every row" in found.found
    assert "--survival" in warned(tmp_path, frame, risk=["risk", "free"])["alike"].remedy


def test_risks_of_0_and_1(tmp_path, frame):
    frame.loc[:1, "risk"] = [0, 1]
    assert warned(tmp_path, frame)["risk-edge"].row == 2


def test_months_given_as_days(tmp_path, frame):
    frame["days"] = np.ceil(frame["days"] / 30.4)
    assert "months or years" in warned(tmp_path, frame, horizon=24.0)["time-short"].remedy


def test_follow_up_of_one_cohort_ends_before_the_horizon(tmp_path, frame):
    frame.loc[40:, "days"] = frame.loc[40:, "days"].clip(upper=400)
    assert "external ends at 400 days" in warned(tmp_path, frame)["cohort-short"].found


def test_a_shuffled_index(tmp_path, frame):
    path = tmp_path / "table.csv"
    frame.sample(frac=1, random_state=3).to_csv(path)
    shuffled = {w.code for w in predictions.read(path, roles()).warnings}
    frame.to_csv(path)
    assert "index-shuffled" in shuffled and "index-shuffled" not in {
        w.code for w in predictions.read(path, roles()).warnings
    }


def test_equal_rows_where_no_patient_is_named(tmp_path, frame):
    frame.loc[5] = frame.loc[4]
    assert warned(tmp_path, frame, id="")["equal-rows"].row == 6


def test_a_level_spelt_in_two_ways(tmp_path, frame):
    frame["sex"] = ["M"] * 30 + ["m"] + ["F"] * 29
    found = warned(tmp_path, frame, clinical=["sex"])["spelling"]
    assert (found.column, found.row) == ("sex", 32) and "M and m differ in capitals only" in found.found
    frame["sex"], frame.loc[5, "patient"] = "F", "p004"
    found = warned(tmp_path, frame)["spelling"]
    assert (found.column, found.row) == ("patient", 6) and "P004 and p004" in found.found and "patients" in found.remedy


def test_follow_up_of_nothing(tmp_path, frame):
    row = frame.index[frame["event"] == 0][0]
    frame.loc[row, "days"] = 0
    assert warned(tmp_path, frame)["zero"].row == row + 2


def test_two_sheets(tmp_path, frame):
    path = tmp_path / "table.xlsx"
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="a", index=False)
        frame.to_excel(book, sheet_name="b", index=False)
    assert "sheets" in {w.code for w in predictions.read(path, roles()).warnings}


# ---------------------------------------------------------------- the mapping file


def test_a_mapping_file_is_read(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("time: days\nrisk: [a, b]\ncodes: {censored: 0, event: 1, competing: [2, 3]}\n")
    assert predictions.read_map(path)["codes"]["competing"] == ["2", "3"]
    path.write_text("time-unit: days\ncodes: {0: censored, 1: event, 2: competing, 3: competing}\n")
    by_code = {"censored": ["0"], "event": ["1"], "competing": ["2", "3"]}
    assert predictions.read_map(path) == {"time_unit": "days", "codes": by_code}
    path.write_text("codes: {censored: no, event: yes}\n")
    assert predictions.read_map(path)["codes"] == {"censored": "no", "event": "yes"}


@pytest.mark.parametrize(
    ("text", "code"),
    [("a: [", "map-unreadable"), ("just words", "map-no-mapping"), ("time: a\ntime: b\n", "map-twice")],
)
def test_a_mapping_file_that_is_none(tmp_path, text, code):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(predictions.Findings) as error:
        predictions.read_map(path)
    assert error.value.findings[0].code == code


def test_two_names_that_would_share_a_key(tmp_path, frame):
    frame["risk."] = frame["risk"]
    assert refused(tmp_path, frame, risk=["risk", "risk."]).code == "names"
