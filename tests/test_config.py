"""Random streams, and errors that cross processes."""

import pickle

from dlrs import config


def test_an_input_error_crosses_processes():
    error = config.InputError("a.csv", "found x", expected="y", remedy="Do z.", row=3, column="age")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is config.InputError
    assert str(again) == str(error) == "a.csv, row 3, column age: found x; expected y. Do z."


def test_streams_are_separate_and_repeatable():
    first = config.stream(1, "noise", "P001").random(3)
    assert (first == config.stream(1, "noise", "P001").random(3)).all()
    assert (first != config.stream(1, "noise", "P002").random(3)).any()
    assert (first != config.stream(2, "noise", "P001").random(3)).any()
