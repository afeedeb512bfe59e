"""Do searches find better topologies than chance, and than people? Judged by a table of truth.

    python -m projects.table5                                  shapes with NANO: hours on two cores
    python -m projects.table5 --resume                         go on; what has finished is not repeated
    python -m projects.table5 --seeds 0 --num-topologies 2     a smaller one
    python -m projects.table5 --config projects/table5/configs/pets.yaml data.root=FOLDER

For every seed there is a multitask search (algorithm 4), and on request one for each task alone (algorithm 1). From
each, the best topologies at equal MACs and the best under the MACs of each hand-made topology are derived for each task
and trained as those of the table of truth are, into that table. ablation.md in the output folder has the scores, how
well the supernet ranks topologies, and the cost of the searches; ablation.json has all numbers. Both are rewritten
whenever a job ends. docs/ABLATION.md says how it is done, and what it can and cannot show.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import add_study_arguments, at_least, parser_of
from fbnetv5.projects.table5.options import load_ablation
from fbnetv5.projects.table5.run import run_ablation
from fbnetv5.runs.machine import study_jobs

CONFIGS = Path(__file__).parent / "configs"


@one_line_errors("--resume goes on with what is not finished")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a job failed."""
    options = _parser().parse_intermixed_args(arguments)
    changes = {"output": options.output, "seeds": options.seeds, "num_topologies": options.num_topologies}
    changes["repeats"] = options.repeats
    config = load_ablation(options.config, changes, options.overrides)
    complete = run_ablation(config, num_processes=study_jobs(options.processes), resume=options.resume)
    if not complete:
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.table5")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="for every search and training, as on the command line of train_net.py: data.root=FOLDER",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIGS / "shapes.yaml",
        help="config of the ablation; projects/table5/configs/shapes.yaml if not given, which explains the keys",
    )
    parser.add_argument("--num-topologies", type=int, metavar="N", help="a seed, method and task; not the config's")
    parser.add_argument("--repeats", type=at_least(1), metavar="N", help="trainings a topology; not the config's")
    add_study_arguments(parser, table=False)
    parser.add_argument("--resume", action="store_true", help="go on with the ablation that the folder holds")
    return parser


if __name__ == "__main__":
    main()
