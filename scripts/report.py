"""Write the report of a run again, whether it is finished, interrupted or still running.

    python scripts/report.py runs/quickstart

reads what the run wrote into its folder and puts report.html beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.report.html import write_report


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="folders of runs")
    for run in parser.parse_args(arguments).runs:
        print(write_report(run))


if __name__ == "__main__":
    main()
