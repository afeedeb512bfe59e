"""The table that a study keeps: a csv file, and in a JSON file beside it what its rows were made with.

The first column says by which name a row's settings are known. What stands in the table is not made again, so a row of
other settings than those of today must not pass for one of today's.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.config.read import OPEN_ENDED

ABSENT = "absent"
Settings = Mapping[str, Mapping[str, Any]]  # of rows by their name: plain data


def read_table(file: Path, columns: Sequence[str], settings: Settings) -> list[dict[str, str]]:
    """Return the rows of a table, column to text; none where there is no file.

    Args:
        file: csv.
        columns: that it must have; the first one holds the names of ``settings``.
        settings: of today. A name that is not among them is not looked at; nor is a key that one side lacks, which
            belongs to another version, unless it is an option of a class.

    Raises:
        InputError: the file is no such table, or rows of a name were made with other settings.
    """
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [{column: entry[column] for column in columns} for entry in csv.DictReader(lines)]
        made_with = json.loads(settings_file(file).read_text(encoding="utf-8"))
        names = [name for name in dict.fromkeys(row[columns[0]] for row in rows) if name in settings]
        differences = {name: _difference(made_with[name], settings[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} with {settings_file(file).name} is no table of {', '.join(columns)}: {error}"
        ) from error
    for name, found in differences.items():
        if found:
            raise InputError(f"{file}: {name} was made with other settings ({found}); give another file for the table")
    return rows


def write_table(file: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], settings: Settings) -> None:
    """Write a table, and beside it what it was made with; the settings of other names stay.

    Raises:
        InputError: a file cannot be written.
    """
    beside = settings_file(file)
    before = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    write_text(beside, json.dumps({**before, **settings}, indent=1, sort_keys=True) + "\n")
    write_text(file, "".join(csv_lines([tuple(columns), *rows])))


def settings_file(file: Path) -> Path:
    """Return where the settings of a table stand."""
    return file.with_suffix(".json")


def _difference(made_with: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Name the first key that two settings differ in; empty if there is none."""
    for key in sorted(made_with.keys() | settings.keys()):
        there, here = (values.get(key, ABSENT) for values in (made_with, settings))
        if there != here and (ABSENT not in (there, here) or _is_option(key)):
            return f"{key}={there} there, {here} here"
    return ""


def _is_option(key: str) -> bool:
    """Whether a key, or what follows the name of a run as in ``adapt.project.start``, is an option of a class."""
    return key.startswith(OPEN_ENDED) or key.partition(".")[2].startswith(OPEN_ENDED)
