"""Search methods on published tables: the regret of what they find, by noise and evaluations.

    python -m projects.tables macro --seeds 100             NAS-Bench-Macro: 8 slots of 3 options
    python -m projects.tables mr --seeds 100                NAS-Bench-MR: 14 slots of 2 options, by a surrogate
    python -m projects.tables mr --seeds 100 --resume       go on; what has finished is not repeated
    python -m projects.tables macro --noise 1 --evaluations 200 --methods last-look random --seeds 10
    python -m projects.tables surrogate                     fit the surrogate, test it on left-out networks

results.csv in the output folder has the mean regrets with their intervals, results.md the tables; cells/ has a file for
each seed and level of noise. projects/tables/README.md says how to read it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.projects.tables.methods import METHODS, POPULATION
from fbnetv5.projects.tables.study import TableStudy
from fbnetv5.projects.tables.surrogate import SCALES, TASKS, held_out, write_scales
from fbnetv5.runs.study import run_study


@one_line_errors("--resume goes on with what is not finished")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a cell failed."""
    options = _parser().parse_args(arguments)
    if options.space == "surrogate":
        _fit()
        return
    if min(options.evaluations) < POPULATION or min(options.noise) < 0:
        raise InputError(f"--evaluations: at least {POPULATION}; --noise: at least 0")
    study = TableStudy(
        options.space,
        Path(options.output or f"runs/tables-{options.space}").absolute(),
        seeds=options.seeds,
        noises=options.noise,
        methods=options.methods,
        evaluations=options.evaluations,
    )
    if not run_study(study, num_processes=options.processes, resume=options.resume):
        raise SystemExit(1)


def _fit() -> None:
    fitted = {}
    for task in TASKS:
        r2, rho, fitted[task] = held_out(task)
        print(f"{task}: R2 {r2:.2f}, Spearman's rho {rho:.2f} on left-out networks", flush=True)
    write_scales(fitted)
    print(f"scales: {SCALES}")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.tables")
    parser.add_argument("space", choices=("macro", "mr", "surrogate"), help="the table")
    parser.add_argument("--seeds", type=at_least(1), default=100, metavar="N", help="runs of each method; 100")
    parser.add_argument("--output", help="folder; runs/tables-macro or runs/tables-mr if not given")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=(0.0, 0.5, 1.0, 3.0), help="of an evaluation; 0 0.5 1 3"
    )
    parser.add_argument("--evaluations", type=int, nargs="+", default=(200, 800, 2000), help="200 800 2000")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS), help="all")
    parser.add_argument("--processes", type=at_least(1), default=2, metavar="N", help="cells that run at a time; 2")
    parser.add_argument("--resume", action="store_true", help="go on with the study that the folder holds")
    return parser


if __name__ == "__main__":
    main()
