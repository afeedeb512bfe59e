"""Tables that studies keep: what was written is read, and rows of other settings do not pass for today's."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.runs.kept_table import read_table, settings_file, write_table

COLUMNS = ("task", "score")
ROWS = [("cls", "0.5"), ("det", "0.25")]
SETTINGS = {"cls": {"steps": 3, "lr": 0.1}, "det": {"steps": 4}}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, COLUMNS, ROWS, SETTINGS)
    return path


def test_what_was_written_is_read_and_no_file_is_no_rows(file, tmp_path):
    assert read_table(file, COLUMNS, SETTINGS) == [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert read_table(tmp_path / "none.csv", COLUMNS, SETTINGS) == []


def test_other_settings_of_a_name_are_refused_by_their_key(file):
    with pytest.raises(InputError, match=r"table\.csv: det was made with other settings \(steps=4 there, 5 here\)"):
        read_table(file, COLUMNS, {"det": {"steps": 5}})


def test_keys_of_other_versions_and_names_without_rows_say_nothing(file):
    changed = {"cls": {"steps": 3, "colour": "red"}, "seg": {"steps": 9}}
    assert len(read_table(file, COLUMNS, changed)) == 2


@pytest.mark.parametrize(("there", "here"), [({}, {"model.head.dropout": 0.7}), ({"tasks.det.path": 2}, {})])
def test_an_option_of_a_class_that_one_side_lacks_is_another_setting(file, there, here):
    write_table(file, COLUMNS, ROWS, {"det": SETTINGS["det"] | there})
    with pytest.raises(InputError, match=r"det was made with other settings \(.*absent"):
        read_table(file, COLUMNS, {"det": SETTINGS["det"] | here})


def test_settings_of_other_names_stay(file):
    write_table(file, COLUMNS, ROWS[1:], {"det": {"steps": 5}})
    write_table(file, COLUMNS, ROWS, {})
    with pytest.raises(InputError, match="cls was made with"):
        read_table(file, COLUMNS, {"cls": {"steps": 4}})
    assert read_table(file, COLUMNS, {"det": {"steps": 5}})


@pytest.mark.parametrize("damage", ["columns", "no settings", "no json", "a name's settings"])
def test_files_that_are_no_table_are_refused(file, damage):
    beside = settings_file(file)
    if damage == "columns":
        file.write_text("a,b\n1,2\n")
    elif damage == "no settings":
        beside.unlink()
    else:
        beside.write_text("{" if damage == "no json" else '{"det": {}}')
    with pytest.raises(InputError, match=r"table\.csv with table\.json is no table of task, score"):
        read_table(file, COLUMNS, SETTINGS)
