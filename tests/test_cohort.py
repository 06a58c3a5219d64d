"""The clinical table is read whole and right, or refused with file, row and column."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
import yaml
from statsmodels.imputation.mice import MICEData  # its import sets a filter of warnings

from dlrs import cohort
from dlrs.config import InputError, published
from dlrs_site import intake

ROW = {
    "patient_id": "P1",
    "centre": "A",
    "time_months": "40.5",
    "event": "0",
    "age": "61",
    "cohort": "primary",
    "gender": "Male",
    "tumor_location": "Mid",
    "histology": "adenocarcinoma",
    "ct_stage": "cT3",
    "lymph_node_status": "positive",
    "cea": "Normal",
    "surgical_approach": "Laparoscopy",
    "ypt_stage": "ypT2",
    "ypn_stage": "ypN0",
    "adjuvant_chemotherapy": "Yes",
    "adjuvant_radiotherapy": "No",
    "locoregional_recurrence": "No",
}


@pytest.fixture
def folder(tmp_path):
    """A cohort folder of four good patients; `write(rows)` changes its table."""
    (tmp_path / "cohort.yaml").write_text("name: test\nclass: SYNTHETIC\n", encoding="utf-8")
    rows = [
        ROW,
        ROW | {"patient_id": "P2", "event": "1", "time_months": "12"},
        ROW | {"patient_id": "P3", "cohort": "validation", "centre": "C"},
        ROW | {"patient_id": "P4", "cohort": "validation", "centre": "C", "ypn_stage": "ypN2"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "clinical.csv", index=False)
    return tmp_path


def damage(folder, row, **values):
    path = folder / "clinical.csv"
    frame = pd.read_csv(path, dtype=str)
    for column, value in values.items():
        frame.loc[row, column] = value
    frame.to_csv(path, index=False)


def test_levels_are_those_of_the_paper():
    table1 = published()["table1"]
    for name, levels in cohort.LEVELS.items():
        if name in table1:
            assert set(levels) == set(table1[name]["levels"]), name


def test_a_good_folder_is_read_with_types(folder):
    study = intake.read_cohort(folder)
    assert study.settings["class"] == "SYNTHETIC"
    patients = study.patients
    assert patients["event"].tolist() == [False, True, False, False]
    assert patients["time_months"].tolist() == [40.5, 12.0, 40.5, 40.5]
    assert list(patients["ypn_stage"].cat.categories) == ["ypN0", "ypN1", "ypN2"]
    assert patients["row"].tolist() == [2, 3, 4, 5]


def test_the_class_is_read_without_the_table(folder):
    (folder / "clinical.csv").unlink()
    assert intake.read_class(folder) == "SYNTHETIC"
    (folder / "cohort.yaml").write_text("name: test\nclass: PAPER\n", encoding="utf-8")
    with pytest.raises(InputError, match="class is 'PAPER'; expected SYNTHETIC or COHORT"):
        intake.read_class(folder)


def test_saved_patients_are_read_back_the_same(folder, tmp_path):
    patients = intake.read_cohort(folder).patients
    patients.to_csv(tmp_path / "again.csv", index=False)
    pd.testing.assert_frame_equal(cohort.read_patients(tmp_path / "again.csv"), patients)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ct_stage": "T4"}, ["row 3", "column ct_stage", "'T4'", "cT3, cT4"]),
        ({"time_months": "-2"}, ["row 3", "column time_months", "'-2'", "0 to 600"]),
        ({"time_months": "soon"}, ["row 3", "column time_months", "'soon'"]),
        ({"event": "2"}, ["row 3", "column event", "0 or 1"]),
        ({"age": ""}, ["row 3", "column age", "is empty"]),
        ({"patient_id": "P1"}, ["row 3", "column patient_id", "row 2 again", "each patient once"]),
        ({"patient_id": "../P9"}, ["row 3", "column patient_id", "letters, digits"]),
    ],
)
def test_a_wrong_cell_is_named(folder, values, words):
    damage(folder, 1, **values)
    with pytest.raises(InputError) as error:
        intake.read_cohort(folder)
    for word in ["clinical.csv", *words]:
        assert word in str(error.value), str(error.value)


def test_a_patient_in_both_cohorts_is_said_so(folder):
    damage(folder, 2, patient_id="P1")
    with pytest.raises(InputError, match="row 4, column patient_id.*in the other cohort"):
        intake.read_cohort(folder)


def test_all_wrong_cells_are_listed_at_once(folder):
    damage(folder, 0, cea="high")
    damage(folder, 3, event="maybe", age="")
    with pytest.raises(InputError) as error:
        intake.read_cohort(folder)
    for word in ["row 2, column cea", "row 5, column event", "row 5, column age"]:
        assert word in str(error.value)


def test_a_missing_column_lists_what_is_there(folder):
    frame = pd.read_csv(folder / "clinical.csv").drop(columns="cea")
    frame.to_csv(folder / "clinical.csv", index=False)
    with pytest.raises(InputError, match="no column cea; the file has patient_id"):
        intake.read_cohort(folder)


def test_missing_or_broken_description(folder):
    (folder / "cohort.yaml").write_text("class: PUBLISHED", encoding="utf-8")
    with pytest.raises(InputError, match="cohort.yaml: class is 'PUBLISHED'; expected SYNTHETIC or COHORT"):
        intake.read_cohort(folder)
    (folder / "cohort.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(InputError, match="not YAML"):
        intake.read_cohort(folder)
    (folder / "cohort.yaml").unlink()
    with pytest.raises(InputError, match="the file is missing"):
        intake.read_cohort(folder)


def test_probabilities_are_joined_and_summed(folder):
    patients = intake.read_cohort(folder).patients
    t2w = pd.DataFrame({"patient_id": ["P4", "P3", "P2", "P1"], "prob": [0.4, 0.3, 0.2, 0.1]})
    adc = pd.DataFrame({"patient_id": ["P1", "P2", "P3", "P4"], "prob": [0.5, 0.5, 0.5, 0.5]})
    joined = cohort.join_probabilities(patients, t2w, adc)
    assert joined["t2w_prob"].tolist() == [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(joined["dl_prob"], [0.6, 0.7, 0.8, 0.9])
    with pytest.raises(ValueError, match="adc_prob must hold every patient; 1 are missing, first at row 1"):
        cohort.join_probabilities(patients, t2w, adc.drop(index=1))


def test_out_of_fold_probabilities_are_joined_beside_the_others_or_refused(folder):
    patients = intake.read_cohort(folder).patients
    names, judged = patients["patient_id"], (patients["cohort"] == "validation").to_numpy()
    prob = np.array([0.1, 0.2, 0.3, 0.4])
    t2w = pd.DataFrame({"patient_id": names, "prob": prob, "prob_oof": np.where(judged, prob, prob / 2)})
    adc = pd.DataFrame({"patient_id": names, "prob": 0.5, "prob_oof": np.where(judged, 0.5, 0.25)})
    joined = cohort.join_probabilities(patients, t2w, adc)
    of_track = ["t2w_prob", "adc_prob", "dl_prob"]
    assert joined.columns.tolist() == ["patient_id", "cohort", *of_track, *(f"{name}_oof" for name in of_track)]
    np.testing.assert_allclose(joined["dl_prob_oof"], np.where(judged, prob + 0.5, prob / 2 + 0.25))
    one_track = cohort.join_probabilities(patients, *(table.drop(columns="prob_oof") for table in (t2w, adc)))
    pd.testing.assert_frame_equal(one_track, joined[one_track.columns])
    with pytest.raises(ValueError, match="for both sequences or for neither; found it for t2w_prob alone"):
        cohort.join_probabilities(patients, t2w, adc.drop(columns="prob_oof"))
    with pytest.raises(ValueError, match="adc_prob_oof must hold every patient; 1 are missing, first at row 2"):
        cohort.join_probabilities(patients, t2w, adc.assign(prob_oof=adc["prob_oof"].mask(names == "P3")))
    first = int(judged.argmax())
    with pytest.raises(ValueError, match=f"t2w_prob_oof must equal t2w_prob in validation.*first at row {first}"):
        cohort.join_probabilities(patients, t2w.assign(prob_oof=0.9), adc)


def test_the_second_track_stands_in_for_the_first_where_there_is_one():
    frame = pd.DataFrame(
        {"dl_prob": [0.9], "dl_prob_oof": [0.6], "lp_A": [1.0], "lp_A_oof": [0.5], "note_oof": ["kept"]}
    )
    found = cohort.tracks(frame)
    assert found[""].to_dict("list") == {"dl_prob": [0.9], "lp_A": [1.0], "note_oof": ["kept"]}
    assert found["_oof"].to_dict("list") == {"dl_prob": [0.6], "lp_A": [0.5], "note_oof": ["kept"]}
    one = cohort.tracks(found[""])
    assert list(one) == [""] and one[""].equals(found[""])


def test_probabilities_of_a_file_are_checked(folder, tmp_path):
    patients = intake.read_cohort(folder).patients
    good = pd.DataFrame({"patient_id": patients["patient_id"], "t2w_prob": 0.5, "adc_prob": 0.25, "dl_prob": 0.75})
    path = tmp_path / "dl_prob.csv"
    good.to_csv(path, index=False)
    assert cohort.with_probabilities(patients, path)["dl_prob"].eq(0.75).all()
    good.assign(dl_prob=[0.7, 2.5, 0.7, 0.7]).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"row 3, column dl_prob: found 2.5; expected 0 to 2"):
        cohort.with_probabilities(patients, path)
    good.head(3).to_csv(path, index=False)
    with pytest.raises(InputError, match="1 included patients have no probability"):
        cohort.with_probabilities(patients, path)
    good.drop(columns="adc_prob").to_csv(path, index=False)
    with pytest.raises(InputError, match="no column adc_prob"):
        cohort.with_probabilities(patients, path)
    good.assign(t2w_prob=["high", 0.5, 0.5, 0.5]).to_csv(path, index=False)
    with pytest.raises(InputError, match="row 2, column t2w_prob: found high; expected 0 to 1"):
        cohort.with_probabilities(patients, path)
    both = good.assign(**{f"{name}_oof": good[name] for name in ("t2w_prob", "adc_prob", "dl_prob")})
    both.to_csv(path, index=False)
    assert cohort.with_probabilities(patients, path)["dl_prob_oof"].eq(0.75).all()
    both.drop(columns="adc_prob_oof").to_csv(path, index=False)
    with pytest.raises(InputError, match="no column adc_prob_oof"):
        cohort.with_probabilities(patients, path)
    both.assign(t2w_prob_oof=[0.5, 0.5, 1.5, 0.5]).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"row 4, column t2w_prob_oof: found 1.5; expected 0 to 1"):
        cohort.with_probabilities(patients, path)


def test_b_values_are_read_and_those_that_cannot_be_are_refused(folder):
    about = (folder / "cohort.yaml").read_text()
    (folder / "cohort.yaml").write_text(about + "b_values: [50, 400, 800]\n")
    assert intake.read_cohort(folder).settings["b_values"] == [50, 400, 800]
    for wrong in ("[800, 0]", "[1000]", "800", "[0, b1000]", "[0, 0]", "[-50, 800]", "[true, 800]", "[0, .nan]"):
        (folder / "cohort.yaml").write_text(about + f"b_values: {wrong}\n")
        with pytest.raises(InputError, match="expected two b-values or more in s/mm2, ascending"):
            intake.read_class(folder)


# ---------------------------------------------------------------- a hospital's own table

THEIRS = {"PatID": "patient_id", "Alter": "age", "Sex": "gender", "OP-Art": "surgical_approach"}
CODES = {"gender": {"1": "Male", "2": "Female"}, "surgical_approach": {"lap": "Laparoscopy", "offen": "Laparotomy"}}
FOLLOW_UP = [("2014-01-31", "", "2017-06-16"), ("2013-03-01", "2014-03-01", "2016-01-01")] * 2
DATES = {"surgery": "OP", "metastasis": "Metastase", "last_contact": "Kontakt"}


def hospital_folder(folder, *, table=None, date_form="%Y-%m-%d", **settings):
    """Write FOLLOW_UP's four patients with a hospital's own columns, codes and dates; return table and settings."""
    rows = []
    for number, dates in enumerate(FOLLOW_UP):
        row = ROW | {"patient_id": f"P{number}", "age": "61.5", "cohort": "primary" if number < 2 else "validation"}
        said = {theirs: row.pop(ours) for theirs, ours in THEIRS.items()} | row
        said |= {"Sex": "1", "OP-Art": "lap"}
        said |= {
            DATES[name]: pd.Timestamp(date).strftime(date_form) if date else ""
            for name, date in zip(DATES, dates, strict=True)
        }
        del said["time_months"], said["event"]
        rows.append(said)
    settings = {"name": "test", "class": "COHORT", "columns": THEIRS, "codes": CODES, "dates": DATES} | settings
    settings |= {"table": table} if table else {}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return pd.DataFrame(rows)


@pytest.fixture
def plain(tmp_path):
    """The table that every variant of the hospital's must give."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "cohort.yaml").write_text("name: test\nclass: COHORT\n", encoding="utf-8")
    # 31 January 2014 to 16 June 2017 are 1232 days, 1 March 2013 to 1 March 2014 are 365.
    outcome = [(1232 / 30.4375, "0"), (365 / 30.4375, "1")] * 2
    rows = [
        ROW | {"patient_id": f"P{n}", "age": "61.5", "cohort": c, "time_months": repr(t), "event": e}
        for n, (c, (t, e)) in enumerate(zip(["primary"] * 2 + ["validation"] * 2, outcome, strict=True))
    ]
    pd.DataFrame(rows).to_csv(folder / "clinical.csv", index=False)
    return intake.read_cohort(folder).patients


def as_text(frame, *, separator=",", decimal=".", encoding="utf-8"):
    shown = frame.assign(Alter=frame["Alter"].str.replace(".", decimal))
    return shown.to_csv(index=False, sep=separator).encode(encoding)


@pytest.mark.parametrize(
    ("form", "date_form", "table"),
    [
        (dict(), "%Y-%m-%d", None),
        (dict(encoding="utf-8-sig"), "%Y-%m-%d 00:00:00", None),
        (dict(separator=";", decimal=","), "%d.%m.%Y", None),
        (dict(separator="\t"), "%d/%m/%Y", None),
        (dict(decimal=","), "%m/%d/%Y", None),
        (dict(encoding="utf-16"), "%Y/%m/%d", None),
        (dict(separator=";", decimal=",", encoding="cp1252"), "%d.%m.%Y", {"encoding": "cp1252"}),
        (dict(separator=";", decimal=","), "%d-%m-%Y", {"separator": ";", "decimal": ",", "date_order": "dmy"}),
    ],
)
def test_every_way_to_write_the_table_gives_the_same(tmp_path, plain, form, date_form, table):
    frame = hospital_folder(tmp_path, table=table, date_form=date_form)
    frame["Bemerkung"] = 'später; früher, "bald"'
    (tmp_path / "clinical.csv").write_bytes(as_text(frame, **form))
    pd.testing.assert_frame_equal(intake.read_cohort(tmp_path).patients, plain)


@pytest.mark.parametrize("typed", [False, True])
def test_a_spreadsheet_gives_the_same(tmp_path, plain, typed):
    frame = hospital_folder(tmp_path)
    if typed:  # numbers as numbers and dates as dates, as Excel keeps them
        frame = frame.assign(Alter=frame["Alter"].astype(float), Sex=frame["Sex"].astype(int))
        frame[list(DATES.values())] = frame[list(DATES.values())].apply(pd.to_datetime)
    with pd.ExcelWriter(tmp_path / "clinical.xlsx") as book:
        frame.to_excel(book, index=False, sheet_name="Export")
        pd.DataFrame().to_excel(book, sheet_name="Tabelle2")
    pd.testing.assert_frame_equal(intake.read_cohort(tmp_path).patients, plain)


@pytest.mark.parametrize(("unit", "factor"), [("days", 30.4375), ("years", 1 / 12), ("months since surgery", 1)])
def test_units_become_months(folder, unit, factor):
    frame = pd.read_csv(folder / "clinical.csv", dtype=str)
    before = intake.read_cohort(folder).patients["time_months"]
    frame["time_months"] = [repr(float(time) * factor) for time in frame["time_months"]]
    frame.to_csv(folder / "clinical.csv", index=False)
    with open(folder / "cohort.yaml", "a", encoding="utf-8") as settings:
        settings.write(f"units: {{time_months: {unit}}}\n")
    np.testing.assert_allclose(intake.read_cohort(folder).patients["time_months"], before, rtol=1e-15)


def test_codes_are_words_even_where_yaml_sees_something_else(tmp_path):
    """`No` is false to YAML and 01 is 1; a code may also stand for "unknown", and a column may be the same for all."""
    rows = [ROW | {"adjuvant_radiotherapy": code, "patient_id": f"P{code}"} for code in ("01", "1", "9")]
    pd.DataFrame(rows).drop(columns=["centre", "cohort"]).to_csv(tmp_path / "clinical.csv", index=False)
    (tmp_path / "cohort.yaml").write_text(
        "name: test\nclass: COHORT\ncodes:\n  adjuvant_radiotherapy: {01: No, 1: Yes, 9: ''}\n"
        "constants: {centre: Ours, cohort: validation}\n",
        encoding="utf-8",
    )
    patients = intake.read_cohort(tmp_path).patients
    assert patients["adjuvant_radiotherapy"].astype(object).fillna("unknown").tolist() == ["No", "Yes", "unknown"]
    assert patients["centre"].eq("Ours").all() and patients["cohort"].eq("validation").all()


def test_other_columns_are_left_behind_unless_asked_for(folder):
    frame = pd.read_csv(folder / "clinical.csv", dtype=str).assign(name="Somebody", crm="clear")
    frame.to_csv(folder / "clinical.csv", index=False)
    with open(folder / "cohort.yaml", "a", encoding="utf-8") as settings:
        settings.write("keep: [crm]\n")
    assert intake.read_cohort(folder).patients.columns.tolist() == [*cohort.COLUMNS, "crm", "row"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"Alter": "Age"}}, "columns has 'Age'; expected 'age'?"),
        ({"columns": {"a": "age", "b": "age"}}, "age has two sources"),
        ({"columns": ["Alter"]}, "columns is a list; expected lines"),
        ({"codes": {"cea": {"1": "high"}}}, "codes.cea has 'high'; expected one of Normal, Elevated"),
        ({"codes": {"cea": "1"}}, "codes.cea is a str; expected lines `their code: our level`"),
        ({"units": {"time_months": "fortnights"}}, "units.time_months is 'fortnights'; expected one of months, days"),
        ({"dates": {"surgery": "OP"}}, "dates lacks metastasis"),
        ({"table": {"file": "../../elsewhere.csv"}}, r"table.file is '../../elsewhere.csv'; expected the name of"),
        ({"table": {"decimal": "dot"}}, "table.decimal is 'dot'"),
        ({"table": {"sheet": {"a": "b"}}}, "table.sheet is a dict; expected a sheet's name"),
        ({"table": {"sheets": "a"}}, "table has 'sheets'; expected 'sheet'?"),
        ({"small_cells": 5}, "'small_cells' is no setting; expected 'small_cell'?"),
        ({"small_cell": True}, "small_cell is True; expected a whole number from 2 on"),
        ({"b_values": [1000, 0]}, "b_values is a list; expected two b-values or more in s/mm2, ascending: [0, 1000]"),
        ({"name": "x" * 1000}, "name is 'xxx"),
        ({"class": ["COHORT"]}, "class is a list; expected SYNTHETIC or COHORT"),
        ({"acquisition": {"A": "phantom"}}, "acquisition.A is a str; expected for each centre lines"),
        ({"acquisition": {"A": {"t2w": {"tr_ms": {"from": 1}}}}}, "acquisition.A.t2w.tr_ms is a dict"),
        ({"missing": "NA"}, "missing is a str; expected `missing"),
        ({"name": None}, "no name; expected `name:`"),
    ],
)
def test_a_wrong_mapping_is_named(folder, settings, words):
    said = {"name": "test", "class": "COHORT"} | settings
    (folder / "cohort.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    with pytest.raises(InputError) as error:
        intake.read_cohort(folder)
    assert words in str(error.value), str(error.value)


LAUGHS = "x0: &x0 [ha,ha,ha,ha,ha,ha,ha,ha,ha,ha]\n"
LAUGHS += "".join(f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("codes: {cea: {1: Normal, 1: Elevated}}", "codes.cea.1 is there twice; expected each key once"),
        ("keep: " + "[" * 3000 + "]" * 3000, "line 3 is nested 21 deep; expected 20 levels at most"),
        ("keep: " + "[" * 2000, "line 3 is nested 21 deep"),
        (LAUGHS, "line 7 makes more than 20000 values; expected 20000 at most"),
        (LAUGHS + "share: *x8", "line 7 makes more than 20000 values"),
        ("missing: &a [*a]", "line 3 has the alias *a within itself"),
        ("missing: *nowhere", "line 3 has the alias *nowhere within itself"),
        ("missing: !!python/object/apply:os.system ['touch here']", "line 3 has the tag tag:yaml.org,2002:python/obj"),
        ("share: !!str true", "line 3 has the tag tag:yaml.org,2002:str; expected plain values without tags"),
        ("table: &t {decimal: '.'}\nunits:\n  <<: *t", "line 5 has the merge key <<"),
        ("---\nname: b\nclass: SYNTHETIC", "a second document begins in line 3; expected one document"),
        ("# " + "x" * 300_000, "the file has 300025 bytes; expected 200000 at most"),
        ("missing: [a\0b]", "not YAML (unacceptable character"),
        ("? [a, b]\n: 1", "not YAML (while constructing a mapping"),
    ],
)
def test_yaml_that_grows_or_would_be_read_wrongly_is_refused_in_one_sentence(folder, lines, words):
    (folder / "cohort.yaml").write_text(f"name: a\nclass: COHORT\n{lines}\n", encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(InputError) as error:
        intake.read_cohort(folder)
    assert time.monotonic() - started < 5
    assert str(error.value).startswith(f"{folder}/cohort.yaml: ") and words in str(error.value), str(error.value)
    assert len(str(error.value)) < 700 and "new-cohort FOLDER" in str(error.value)
    assert not (folder / "here").exists()


def test_a_value_may_be_used_again_by_its_anchor(folder):
    lines = "acquisition:\n  1: &one {scanner: x, t2w: {tr_ms: 4000}}\n  B: *one"
    (folder / "cohort.yaml").write_text(f"name: a\nclass: COHORT\n{lines}\n", encoding="utf-8")
    about = intake.read_cohort(folder).settings["acquisition"]
    assert about == dict.fromkeys(["1", "B"], {"scanner": "x", "t2w": {"tr_ms": 4000}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(times=["40,5", "12.5"]), "column time_months: both '40,5' and '12.5'"),
        (dict(times=["1,234", "2,345"]), "'1,234' and the like, which may be thousands or have three decimals"),
        (dict(times=["36.123", "12.345"], separator=";"), "'36.123' and the like, which may be thousands"),
        (dict(times=["40.5", "12"], separator=";", table={"decimal": ","}), "row 2, column time_months: found '40.5'"),
        (
            dict(times=["40,5", "12"], table={"decimal": "."}),
            "row 2, column time_months: found '40,5'; expected a number",
        ),
    ],
)
def test_marks_that_may_mean_two_things_are_refused(tmp_path, change, words):
    rows = [ROW | {"patient_id": f"P{n}", "time_months": time} for n, time in enumerate(change["times"])]
    pd.DataFrame(rows).to_csv(tmp_path / "clinical.csv", index=False, sep=change.get("separator", ","))
    said = {"name": "test", "class": "COHORT", "table": change.get("table", {})}
    (tmp_path / "cohort.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    with pytest.raises(InputError) as error:
        intake.read_cohort(tmp_path)
    assert words in str(error.value), str(error.value)


def test_how_a_table_was_read_is_proposed_and_what_is_declared_is_not(tmp_path):
    """The line that is proposed, written into cohort.yaml, leaves nothing to assume and the same table."""
    frame = hospital_folder(tmp_path, date_form="%d.%m.%Y")
    frame.to_csv(tmp_path / "clinical.csv", index=False, sep=";")
    found = intake.survey(tmp_path)
    assert not found.problems and dict(found.assumed) == {"separator": ";", "date_order": "dmy"}
    with open(tmp_path / "cohort.yaml", "a", encoding="utf-8") as settings:
        settings.write(yaml.safe_dump({"table": dict(found.assumed)}))
    again = intake.survey(tmp_path)
    assert not again.assumed
    pd.testing.assert_frame_equal(again.patients, found.patients)


@pytest.mark.parametrize(
    ("dates", "code", "words"),
    [
        (("03/04/2014", "", "05/06/2016"), "date-ambiguous", "do not tell day from month"),
        (("31.01.2014", "", "13.13.2016"), "date-unreadable", "found '13.13.2016'"),
        (("31.01.14", "", "01.02.2016"), "date-unreadable", "four-digit year"),
        (("31.01.2014", "", "01.01.2199"), "date-implausible", "to today"),
        (("31.01.2014", "", "01.01.2013"), "date-order", "before surgery"),
        (("31.01.2014", "01.01.2014", "01.01.2015"), "date-order", "metastasis is before surgery"),
        (("31.01.2014", "02.02.2015", "01.01.2015"), "event-after-last-contact", "after the last contact"),
        (("", "", "01.01.2015"), "cell-empty", "is empty"),
        (("31.01.2014", "", ""), "cell-empty", "is empty"),
    ],
)
def test_a_wrong_date_is_named(tmp_path, dates, code, words):
    frame = hospital_folder(tmp_path).iloc[:1]
    frame.loc[0, list(DATES.values())] = dates
    frame.to_csv(tmp_path / "clinical.csv", index=False)
    found = intake.survey(tmp_path).problems
    assert [problem.code for problem in found] == [code], found
    assert words in f"{found[0].found}; expected {found[0].expected}"


def test_a_table_of_the_wrong_form_is_refused(folder):
    path = folder / "clinical.csv"
    text = path.read_text(encoding="utf-8")
    cases = {
        b"\xff\x00bad": "table-unreadable",
        text.replace("P2", "Pé").encode("cp1252"): "table-unreadable",
        b"a|b|c\n1|2|3\n": "table-columns",
        b"number,a;b\n1,2;3\n": "table-separator",
        b"": "table-empty",
        b",,\nP1,2\n": "table-columns",
        text.split("\n")[0].encode(): "table-empty",
        (text + "P9,A\n").encode(): "table-row",
        text.replace("gender", "age", 1).encode(): "table-columns",
        b"patient_id\nP1\0\n": "table-unreadable",
    }
    for content, code in cases.items():
        path.write_bytes(content)
        assert code in [problem.code for problem in intake.survey(folder).problems], content[:40]
    path.rename(folder / "clinical.xlsx")
    assert [problem.code for problem in intake.survey(folder).problems] == ["table-unreadable"]
    path.write_text(text, encoding="utf-8")
    assert [problem.code for problem in intake.survey(folder).problems] == ["table-twice"]


def test_rows_are_those_of_the_file_even_after_empty_lines(folder):
    path = folder / "clinical.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, "", *rows]), encoding="utf-8")
    assert intake.read_cohort(folder).patients["row"].tolist() == [3, 4, 5, 6]


# ---------------------------------------------------------------- unknown covariates


def test_a_hospital_may_not_know_everything(folder):
    """Two of four incomplete: the study keeps two and counts two, by reason; a generated table has no empty cell."""
    (folder / "cohort.yaml").write_text("name: test\nclass: COHORT\nmissing: [NA]\n", encoding="utf-8")
    damage(folder, 1, age="")
    damage(folder, 2, cea="NA", ct_stage="NA")
    assert len(intake.read_cohort(folder).patients) == 4
    intake.stage(folder / "run", folder)
    study = cohort.read_study(folder / "run")
    assert study.patients["patient_id"].tolist() == ["P1", "P4"]
    assert study.excluded.values.tolist() == [["primary", "no age", 1], ["validation", "no ct_stage, no cea", 1]]
    for row in (0, 3):
        damage(folder, row, age="")
    with pytest.raises(InputError, match="clinical.csv: no patient has every covariate"):
        intake.stage(folder / "run", folder)
    damage(folder, 3, event="")
    with pytest.raises(InputError, match="row 5, column event: is empty"):
        intake.read_cohort(folder)


# ---------------------------------------------------------------- intake as a stage


def test_intake_hands_on_the_table_to_the_last_digit_and_what_the_notebooks_ask(folder):
    """A hospital's own column stays text, a patient may be called NA, and a time keeps all its digits."""
    path = folder / "clinical.csv"
    frame = pd.read_csv(path, dtype=str).assign(scanner=["01", "NA", "", "2.0"])
    frame["patient_id"], frame["time_months"] = ["NA", "P2", "P3", "P4"], ["12.3", "0.1", "31.57977883096367", "36"]
    frame.to_csv(path, index=False)
    (folder / "cohort.yaml").write_text("name: Größe\nclass: COHORT\nkeep: [scanner]\n", encoding="utf-8")
    intake.stage(folder / "run", folder)
    study = cohort.read_study(folder / "run")
    pd.testing.assert_frame_equal(study.patients, intake.read_cohort(folder).patients)
    assert study.patients["scanner"].fillna("").tolist() == ["01", "NA", "", "2.0"]
    assert study.excluded.empty
    assert study.settings.pop("variables") == cohort.VARIABLES
    asked = {"name": "Größe", "class": "COHORT", "smallest_count": 0, "small_cell": 5, "left_out": []}
    assert study.settings == asked  # no b-values: those of the files count


@pytest.mark.parametrize(
    ("said", "smallest"),
    [
        ("class: COHORT\nshare: true", 5),
        ("class: COHORT\nshare: true\nsmall_cell: 11", 11),
        ("class: COHORT\nsmall_cell: 11", 0),
        ("class: SYNTHETIC\nshare: true", 0),
    ],
)
def test_small_counts_are_hidden_in_shared_results_of_patients(folder, said, smallest):
    (folder / "cohort.yaml").write_text(f"name: test\n{said}\n", encoding="utf-8")
    intake.stage(folder / "run", folder)
    assert cohort.read_settings(folder / "run")["smallest_count"] == smallest


def test_one_cohort_alone_takes_part_and_the_other_is_counted(folder):
    intake.stage(folder / "run", folder, only="validation")
    study = cohort.read_study(folder / "run")
    assert study.patients["cohort"].unique().tolist() == ["validation"]
    other = {"cohort": "primary", "reason": "not in the validation cohort", "n": 4 - len(study.patients)}
    assert study.excluded.to_dict("records") == study.settings["left_out"] == [other]


def test_what_intake_hands_on_of_the_synthetic_cohort(tmp_path):
    intake.stage(tmp_path, "data_synthetic")
    settings = cohort.read_settings(tmp_path)
    assert (settings["seed"], settings["signal"], settings["b_values"]) == (20210621, 1.0, [0, 1000])
    assert settings["acquisition"]["A"]["t2w"]["tr_ms"] == 4000


# ---------------------------------------------------------------- variables


def test_the_papers_variables_have_their_levels_labels_and_references():
    about = cohort.VARIABLES
    assert about["adjuvant_chemotherapy"].levels == ["Yes", "No"]  # as Table 1 prints them
    assert cohort.LEVELS["adjuvant_chemotherapy"] == ["No", "Yes"]  # as a model codes them
    assert [cohort.label(name) for name in ("ct_stage", "cea", "dl_prob", "crm_mm")] == [
        "cT stage",
        "CEA",
        "DL-prob",
        "Crm mm",
    ]
    assert cohort.COLUMNS[:6] == ["patient_id", "centre", "time_months", "event", "age", "cohort"]
    assert "dl_prob" not in cohort.COLUMNS and len(cohort.COVARIATES) == 13


def test_a_reference_that_is_no_level_is_refused(tmp_path):
    (tmp_path / "v.yaml").write_text("cea: {label: CEA, kind: levels, role: covariate, levels: [a, b], reference: c}")
    with pytest.raises(InputError, match="cea has the reference 'c'; expected one of its levels"):
        cohort.read_variables(tmp_path / "v.yaml")


OWN = {
    "emvi": {"label": "EMVI", "levels": ["negative", "positive"]},
    "ct_stage": {"label": "cT stage", "levels": ["cT2", "cT3", "cT4"], "reference": "cT3"},
    "crm_mm": {"unit": "mm", "range": [0, 50]},
}


def test_a_cohort_adds_and_leaves_out_variables(folder):
    """EMVI, a third stage level and a distance beside the paper's variables; no ypT without surgery."""
    said = {"name": "test", "class": "COHORT", "columns": {"EMVI": "emvi"}, "codes": {"emvi": {0: "negative"}}}
    said |= {"variables": {"add": OWN, "leave_out": ["ypt_stage"]}}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    frame = pd.read_csv(folder / "clinical.csv", dtype=str).drop(columns="ypt_stage")
    frame["EMVI"], frame["crm_mm"] = ["0", "positive", "", "0"], ["1,5", "2", "50", "0"]
    frame.loc[0, "ct_stage"] = "cT2"
    frame.to_csv(folder / "clinical.csv", index=False, sep=";")
    intake.stage(folder / "run", folder)
    study = cohort.read_study(folder / "run")
    assert study.patients["emvi"].tolist() == ["negative", "positive", "negative"]
    assert list(study.patients["ct_stage"].cat.categories) == ["cT3", "cT2", "cT4"]
    assert study.patients["crm_mm"].tolist() == [1.5, 2.0, 0.0] and "ypt_stage" not in study.patients
    assert study.excluded["reason"].tolist() == ["no emvi"]
    variables = study.settings["variables"]
    assert list(variables)[-3:] == ["dl_prob", "emvi", "crm_mm"] and "ypt_stage" not in variables
    assert (variables["emvi"].label, variables["emvi"].reference) == ("EMVI", "negative")
    assert (variables["crm_mm"].unit, variables["crm_mm"].range) == ("mm", [0, 50])
    frame.assign(crm_mm="51").to_csv(folder / "clinical.csv", index=False, sep=";")
    with pytest.raises(InputError, match="row 2, column crm_mm: found '51'; expected a number from 0 to 50"):
        intake.read_cohort(folder)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"leave_out": ["yptstage"]}, "variables.leave_out has 'yptstage'; expected 'ypt_stage'?"),
        ({"leave_out": ["event"]}, "variables.leave_out has 'event'; expected one of age, gender"),
        ({"add": {"dl_prob": {}}}, "variables.add has 'dl_prob'; expected a name that the study does not use itself"),
        ({"add": {"E MVI": {}}}, "variables.add.E MVI is"),
        ({"add": {"emvi": {"levels": ["one"]}}}, "variables.add.emvi.levels is a list"),
        (
            {"add": {"emvi": {"levels": ["a", "a"]}}},
            "variables.add.emvi has a definition that does not fit",
        ),
        ({"add": {"emvi": {"level": ["a", "b"]}}}, "variables.add.emvi has 'level'; expected 'levels'?"),
        ({"add": {"emvi": {"label": "<b>EMVI</b>"}}}, "variables.add.emvi.label is '<b>EMVI</b>'"),
        ({"add": {"crm": {"range": [5, 1]}}}, "expected `range: [lowest, highest]`"),
        ({"adds": {}}, "variables has 'adds'; expected 'add'?"),
        (["emvi"], "variables is a list; expected `add:` and `leave_out:`"),
    ],
)
def test_a_wrong_variable_is_named(folder, variables, words):
    said = {"name": "test", "class": "COHORT", "variables": variables}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    with pytest.raises(InputError) as error:
        intake.read_cohort(folder)
    assert words in str(error.value), str(error.value)


def test_a_run_without_intakes_files_says_which_command_makes_them(tmp_path):
    with pytest.raises(InputError, match=r"interim/study.json: the file is missing.*python3 run.py reproduce"):
        cohort.read_study(tmp_path)


def test_hazard_by_hand():
    """Deaths at 2 (two of four at risk, tied) and 4 (one of one): 0, 1/2, 1/2, 1/2, 3/2 in time's order."""
    found = cohort.cumulative_hazard([4, 2, 1, 2, 3], [1, 1, 0, 1, 0])
    np.testing.assert_allclose(found, [1.5, 0.5, 0.0, 0.5, 0.5])


@pytest.fixture
def table():
    """Sixty patients whose age goes with their ypT stage."""
    rng = np.random.default_rng(1)
    stage = rng.integers(0, 5, 60)
    rows = [
        ROW
        | {
            "patient_id": f"P{n}",
            "age": 40 + 8 * s + rng.random(),
            "ypt_stage": f"ypT{s}",
            "cea": rng.choice(["Normal", "Elevated"]),
            "time_months": rng.uniform(5, 60),
            "event": int(rng.random() < 0.4),
            "cohort": "primary" if n < 40 else "validation",
            "row": n + 2,
        }
        for n, s in enumerate(stage)
    ]
    return cohort.typed(pd.DataFrame(rows))


def test_imputation_fills_what_is_unknown_and_nothing_else(table):
    holes = table.copy()
    holes.loc[[3, 8, 45], "age"] = np.nan
    holes.loc[[5, 41], "cea"] = np.nan
    holes.loc[7, "gender"] = np.nan  # everybody else is male
    copies = cohort.impute(holes, seed=4, n_imputations=2, n_iterations=1)
    again = cohort.impute(holes, seed=4, n_imputations=2, n_iterations=1)
    for copy, same in zip(copies, again, strict=True):
        assert not copy.isna().any(axis=None) and (copy.dtypes == table.dtypes).all()
        known = holes.notna()
        assert (copy.astype(object).where(known) == table.astype(object).where(known)).where(known, True).all(axis=None)
        assert copy.loc[7, "gender"] == "Male"
        pd.testing.assert_frame_equal(copy, same)
    # Age follows the stage, so what is drawn lies about a stage from the truth at most.
    drawn = np.array([copy.loc[[3, 8, 45], "age"] for copy in copies])
    assert (np.abs(drawn - table.loc[[3, 8, 45], "age"].to_numpy()) <= 10).all()
    pd.testing.assert_frame_equal(cohort.impute(table, seed=4, n_imputations=1)[0], table)
    with pytest.raises(ValueError, match="must hold cea of somebody; found none in the validation cohort"):
        cohort.impute(table.assign(cea=table["cea"].where(table["cohort"] == "primary")), seed=1)


def test_predictors_that_repeat_each_other_impute_in_silence(table):
    """One day of follow-up makes the hazard follow the event; two covariates are one and the same."""
    holes = table.assign(time_months=36.0, second_cea=table["cea"])
    holes.loc[[3, 8, 45], "age"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (copy,) = cohort.impute(holes, ["age", "cea", "second_cea"], seed=4, n_imputations=1)
    assert copy.loc[[3, 8, 45], "age"].isin(table["age"]).all()


def test_imputation_draws_what_statsmodels_draws_by_its_formulas(table, monkeypatch):
    holes = table.copy()
    holes.loc[[3, 8, 45], "age"] = np.nan
    holes.loc[[5, 12, 41], "cea"] = np.nan
    copies = cohort.impute(holes, seed=4, n_imputations=2)
    original = MICEData.__init__
    plain = []

    def start(self, *data, **options):
        self.__class__ = MICEData  # not the subclass
        plain.append(self)
        original(self, *data, **options)

    monkeypatch.setattr(MICEData, "__init__", start)
    for copy, same in zip(copies, cohort.impute(holes, seed=4, n_imputations=2), strict=True):
        pd.testing.assert_frame_equal(copy, same)
    assert len(plain) == 2


def test_a_cox_model_of_imputed_tables_is_near_that_of_the_whole(table):
    """With a few ages unknown the mean coefficient of the copies stays within the error of the whole table's."""
    from lifelines import CoxPHFitter

    def fitted(patients):
        model = CoxPHFitter().fit(patients[["time_months", "event", "age"]], "time_months", "event")
        return model.params_["age"], model.standard_errors_["age"]

    holes = table.copy()
    holes.loc[holes.index[::6], "age"] = np.nan
    fits = [fitted(copy) for copy in cohort.impute(holes, seed=2, n_imputations=3, n_iterations=1)]
    whole, error = fitted(table)
    assert abs(np.mean([coefficient for coefficient, _ in fits]) - whole) < error
    assert len({coefficient for coefficient, _ in fits}) == 3
