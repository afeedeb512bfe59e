"""Export a trained model to a device's format, in float32 or int8, with a JSON sidecar beside the file.

    python scripts/export.py runs/bccd --format executorch,onnx --precision fp32,int8

reads the model and the data of its training from the run's folder, writes RUN/export/model_fp32.pte and the others, and
reports how each compares with the trained model. Further arguments are keys of the config, such as
``export.size=[224,320]`` or ``data.root=/data/bccd``. The same as a job:

    python train_net.py --config runs/bccd/config.yaml job=export export.model=runs/bccd output=runs/bccd/export
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import CONFIG, load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import path_override
from fbnetv5.export.formats import PRECISIONS, SUFFIXES


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path, help="folder of a training")
    for name, choices in (("format", tuple(SUFFIXES)), ("precision", PRECISIONS)):
        help_text = f"{', '.join(choices)}, or several with commas between ({choices[0]})"
        parser.add_argument(f"--{name}", default=choices[0], help=help_text)
    parser.add_argument("--output", type=Path, help="folder of the files (RUN/export)")
    known, overrides = parser.parse_known_args(arguments)
    run_job(_config(known, overrides))


def _config(options: argparse.Namespace, overrides: Sequence[str]) -> RunConfig:
    file = options.run / CONFIG
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; give the folder of a training")
    keys = [
        "job=export",
        "resume=false",
        path_override("export.model", options.run),
        path_override("output", options.output or options.run / "export"),
        f"export.formats=[{options.format}]",
        f"export.precisions=[{options.precision}]",
    ]
    return load_config(file, [*keys, *overrides])


if __name__ == "__main__":
    main()
