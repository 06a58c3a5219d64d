"""The clinical table is read whole and right, or refused with file, row and column."""

import numpy as np
import pandas as pd
import pytest

from dlrs import cohort
from dlrs.config import InputError, published

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
    study = cohort.read_cohort(folder)
    assert study.provenance == "SYNTHETIC"
    patients = study.patients
    assert patients["event"].tolist() == [False, True, False, False]
    assert patients["time_months"].tolist() == [40.5, 12.0, 40.5, 40.5]
    assert list(patients["ypn_stage"].cat.categories) == ["ypN0", "ypN1", "ypN2"]
    assert patients["row"].tolist() == [2, 3, 4, 5]


def test_saved_patients_are_read_back_the_same(folder, tmp_path):
    patients = cohort.read_cohort(folder).patients
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
        cohort.read_cohort(folder)
    for word in ["clinical.csv", *words]:
        assert word in str(error.value), str(error.value)


def test_a_patient_in_both_cohorts_is_said_so(folder):
    damage(folder, 2, patient_id="P1")
    with pytest.raises(InputError, match="row 4, column patient_id.*in the other cohort"):
        cohort.read_cohort(folder)


def test_all_wrong_cells_are_listed_at_once(folder):
    damage(folder, 0, cea="high")
    damage(folder, 3, event="maybe", age="")
    with pytest.raises(InputError) as error:
        cohort.read_cohort(folder)
    for word in ["row 2, column cea", "row 5, column event", "row 5, column age"]:
        assert word in str(error.value)


def test_a_missing_column_lists_what_is_there(folder):
    frame = pd.read_csv(folder / "clinical.csv").drop(columns="cea")
    frame.to_csv(folder / "clinical.csv", index=False)
    with pytest.raises(InputError, match="no column cea; the file has patient_id"):
        cohort.read_cohort(folder)


def test_missing_or_broken_description(folder):
    (folder / "cohort.yaml").write_text("class: PUBLISHED", encoding="utf-8")
    with pytest.raises(InputError, match="cohort.yaml: class is 'PUBLISHED'; expected SYNTHETIC or COHORT"):
        cohort.read_cohort(folder)
    (folder / "cohort.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(InputError, match="not YAML"):
        cohort.read_cohort(folder)
    (folder / "cohort.yaml").unlink()
    with pytest.raises(InputError, match="the file is missing"):
        cohort.read_cohort(folder)
    with pytest.raises(InputError, match=r"clinical.csv: the file is missing"):
        cohort.read_clinical(folder / "nowhere" / "clinical.csv")


def test_probabilities_are_joined_and_summed(folder):
    patients = cohort.read_cohort(folder).patients
    t2w = pd.DataFrame({"patient_id": ["P4", "P3", "P2", "P1"], "prob": [0.4, 0.3, 0.2, 0.1]})
    adc = pd.DataFrame({"patient_id": ["P1", "P2", "P3", "P4"], "prob": [0.5, 0.5, 0.5, 0.5]})
    joined = cohort.join_probabilities(patients, t2w, adc)
    assert joined["t2w_prob"].tolist() == [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(joined["dl_prob"], [0.6, 0.7, 0.8, 0.9])
    with pytest.raises(ValueError, match="adc_prob must hold every patient; 1 are missing, first at row 1"):
        cohort.join_probabilities(patients, t2w, adc.drop(index=1))


def test_probabilities_of_a_file_are_checked(folder, tmp_path):
    patients = cohort.read_cohort(folder).patients
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
