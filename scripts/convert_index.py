"""Turn a multitask index into COCO json, csv and PNG files for other programs, and such files into an index.

    python scripts/convert_index.py export runs/my_labels/index.parquet exported
    python scripts/convert_index.py import exported

The first makes the folder exported/ with instances.json, labels.csv, masks and depth maps, whichever the index has;
the second reads it, edited or not, and writes exported/index.parquet. Nothing is lost on the way; images stay in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.data.index import Index
from fbnetv5.data.interchange import export_index, import_index


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write an index as COCO json, csv and PNG files")
    export.add_argument("index", type=Path, help="parquet index")
    export.add_argument("folder", type=Path, help="what to make")
    export.add_argument("--root", type=Path, help="folder that its masks are relative to; by default that of the index")
    back = commands.add_parser("import", help="write index.parquet of such a folder into it")
    back.add_argument("folder", type=Path, help="what an export has made")
    options = parser.parse_args(arguments)
    if options.command == "export":
        index = Index.read(options.index)
        export_index(index, options.root or options.index.parent, options.folder)
        print(f"{len(index):,} images: {options.folder}")
    else:
        index = import_index(options.folder)
        index.write(options.folder / "index.parquet")
        print(f"{len(index):,} images: {options.folder / 'index.parquet'}")


if __name__ == "__main__":
    main()
