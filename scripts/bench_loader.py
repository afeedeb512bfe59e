"""Time the loader beside plain torchvision and, where it is installed, Detectron2's mapper.

    python scripts/bench_loader.py                                             # made-up photos of 500x375 pixels
    python scripts/bench_loader.py --config search/pets data.root=/data/pets   # your images, of any config

All read the same images with the same labels, augment them alike and hand them over from a worker, in turn, round
after round. Printed are images a second of CPU time, the worker's and that of the process that takes the batches,
medians over the rounds; and how many times as fast the program's loader is: median, smallest and largest ratio of a
round.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks.loaders import BATCH, DETECTRON2, OURS, SETTINGS, Size, has_detectron2, measure_loaders, ratios
from benchmarks.loading import write_photos
from benchmarks.tables import aligned

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.memory import keep_freed_memory
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.config.read import find_config, load_config
from fbnetv5.data.index import IndexSource
from fbnetv5.data.sources import build_source


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("--config", help="whose training images are read, instead of made-up ones")
    parser.add_argument("--num", type=at_least(BATCH), default=512, help="images a round (%(default)s)")
    parser.add_argument("--rounds", type=at_least(1), default=7, help="(%(default)s)")
    parser.add_argument("--workers", type=at_least(0), default=1, help="processes that load (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the config")
    options = parser.parse_args(arguments)
    size = Size(options.num // BATCH * BATCH, options.rounds, options.workers)
    torch.set_num_threads(1)
    keep_freed_memory()  # as runs do
    with tempfile.TemporaryDirectory() as folder:
        source = _open(options.config, options.overrides, Path(folder))
        for setting in SETTINGS:
            speeds = measure_loaders(source, setting, size)
            print(f"\n{setting.name}\n{speeds_text(speeds)}")
    if not has_detectron2():
        print(f"\n{DETECTRON2} is not installed, and was not timed")


def _open(name: str | None, overrides: Sequence[str], folder: Path) -> IndexSource:
    """Open the images of a config; without one, make some up in a folder."""
    if name is None:
        return IndexSource(write_photos(folder), folder)
    file = find_config(name)
    if file is None:
        raise InputError(f"--config {name}: there is no such config")
    source = build_source(load_config(file, overrides).data)
    if not isinstance(source, IndexSource):
        raise InputError(f"--config {name}: it has no files of its own: give data.root=FOLDER")
    return source


def speeds_text(speeds: dict[str, list[float]]) -> str:
    """Return the table of one setting."""
    rows = []
    for name, values in speeds.items():
        found = [] if name == OURS else ratios(speeds, name)
        times = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})" if found else ""
        rows.append((name, f"{statistics.median(values):.0f}", times))
    return aligned(("loader", "images a second", f"{OURS} is times as fast"), rows)


if __name__ == "__main__":
    main()
