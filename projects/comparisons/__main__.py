"""Trainings side by side, with several seeds each: their metrics, minutes, and differences with intervals.

    python -m projects.comparisons projects/comparisons/configs/starts_pets.yaml data.root=FOLDER
    python -m projects.comparisons projects/comparisons/configs/joint_shapes.yaml --seeds 0 1
    python -m projects.comparisons my_comparison.yaml --only mine theirs

The csv file that the config names has a row a metric and is rewritten whenever a training has ended; what stands there
is not trained again. The command can be stopped at any time, and goes on where it was. comparison.md in the output
folder is the table. projects/comparisons/README.md explains the config.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import add_study_arguments, parser_of
from fbnetv5.projects.comparisons.options import load_comparison
from fbnetv5.projects.comparisons.study import Comparison
from fbnetv5.runs.machine import study_jobs
from fbnetv5.runs.study import run_study


@one_line_errors("the same command goes on with what is not in the table")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a training failed."""
    options = _parser().parse_intermixed_args(arguments)
    changes = {"output": options.output, "table": options.table, "seeds": options.seeds}
    config = load_comparison(options.config, changes, options.overrides, options.only)
    study = Comparison(config)
    if not run_study(study, num_processes=study_jobs(options.processes), resume=True):
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.comparisons")
    parser.add_argument("config", type=Path, help="config of the comparison")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every training: data.root=FOLDER")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trainings alone")
    add_study_arguments(parser)
    return parser


if __name__ == "__main__":
    main()
