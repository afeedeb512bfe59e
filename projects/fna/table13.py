"""Run rows 1 to 5 of FNA++'s Table 13: what remapping brings before the search, and after it.

    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER
    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER --resume
    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER seeds=[0] rows=[1,4]

For every seed: a search from remapped and one from random parameters, and for each row an adaptation of the
architecture that was found. The seed network is trained first, once, where the config says how. table13.md in the
output folder has the table, table13.json all numbers; both are rewritten whenever a run ends. What has finished is not
repeated. With a csv file (table=FILE) that holds on any machine.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.projects.fna.table13_plan import Table13Config, load_table, plan, settings
from fbnetv5.projects.fna.table13_results import COLUMNS, gather, line_of, markdown, parse
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Outcomes
from fbnetv5.runs.kept_table import read_table, write_table
from fbnetv5.runs.study import Study, run_study


class Table13(Study):
    """A table in the folder that its config names: a folder for each run, all numbers, and the table.

    The rows that its csv file holds, if it has one, are known, and not made again, on no machine.

    Raises:
        InputError: a config file of a run is missing, or the csv file is of other settings.
    """

    results, table = "table13.json", "table13.md"

    def __init__(self, config: Table13Config) -> None:
        super().__init__(Path(config.output).absolute())
        self._config = config
        self._file = None if config.table is None else Path(config.table).absolute()
        self._before = self._read()
        self._runs = plan(config, self.root, {(run["row"], run["seed"]) for run in self._before})

    @functools.cached_property
    def _settings(self) -> dict[str, dict[str, Any]]:
        return {self._config.name: settings(self._config)}

    def describe(self) -> str:
        """Say how many runs there are, and what they are kept in."""
        return f"{len(self._runs)} runs" + ("" if self._file is None else f" to do, into {self._file}")

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return all runs, which are known from the start."""
        return Known(self._runs)

    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return all numbers that there are when some runs have ended."""
        return gather(self._config, self.root, outcomes, self._before)

    def markdown(self, results: dict[str, Any]) -> str:
        """Return the page that the table stands on."""
        return markdown(results)

    def write(self, outcomes: Outcomes) -> None:
        """Write all numbers, the page, and the rows that are kept."""
        self._before = self._read()  # another table may have added to it
        super().write(outcomes)
        if self._file is None:
            return
        own = [run for run in self.gather(outcomes)["runs"] if run["score"] is not None]
        others = [line for line in self._lines() if line[0] != self._config.name]
        if own:
            write_table(
                self._file, COLUMNS, [*others, *(line_of(self._config.name, run) for run in own)], self._settings
            )

    def _lines(self) -> list[tuple[str, ...]]:
        if self._file is None:
            return []
        return [tuple(row.values()) for row in read_table(self._file, COLUMNS, self._settings)]

    def _read(self) -> list[dict[str, Any]]:
        return [parse(line) for line in self._lines() if line[0] == self._config.name]


@one_line_errors("--resume goes on with what is not finished")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a run failed."""
    parser = parser_of(__doc__, "python -m projects.fna.table13")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of the table: data, seeds, rows, ...")
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the table")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="runs at a time, of one thread each")
    parser.add_argument("--resume", action="store_true", help="go on with the table that the folder holds")
    options = parser.parse_intermixed_args(arguments)
    config = load_table(options.config, options.overrides)
    complete = run_study(Table13(config), num_processes=max(1, options.processes), resume=options.resume)
    if not complete:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
