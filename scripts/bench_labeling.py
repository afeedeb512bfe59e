"""Measure what labelling costs beside the teachers: images a second and peak memory, for few images and for many.

    python scripts/bench_labeling.py --num 1000 10000

makes small JPEGs in a temporary folder and labels them with two teachers that cost next to nothing, each number of
images in a process of its own. Neither figure should depend on the number of images. The speed is the median over the
shards, so that neither the start of the processes nor another program that ran meanwhile counts. Memory is resident,
of all processes, data loaders included, where pages that they share count once; it is sampled 20 times a second, on
Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from benchmarks.tables import aligned
from PIL import Image
from torch import Tensor

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.cli.launch import run_job
from fbnetv5.config.label import LabelConfig
from fbnetv5.config.schema import RunConfig, RuntimeConfig
from fbnetv5.labeling.shards import SHARDS, TALLY
from fbnetv5.labeling.tally import Tally
from fbnetv5.labeling.teacher import Boxes, Pixels

FOLDER_SIZE = 1000  # images a folder


class Speed(NamedTuple):
    """The cost of labelling ``num_images``: seconds from start to end, images a second, and bytes at the peak."""

    num_images: int
    seconds: float
    images_per_second: float
    peak: int


class FixedBoxes:
    """A teacher that finds the same two boxes in every image."""

    classes = ("left", "right")

    def to(self, device: torch.device) -> None:
        """Nothing to move."""

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Return both boxes of each image."""
        boxes = torch.tensor([[1.0, 2, 20, 30], [20, 2, 40, 30]])
        return [Boxes(boxes, torch.tensor([0, 1]), torch.tensor([0.9, 0.8])) for _ in images]


class DarkOrLight:
    """A teacher of two classes, by the green channel alone."""

    classes = ("dark", "light")

    def to(self, device: torch.device) -> None:
        """Nothing to move."""

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Classify the pixels of each image."""
        light = [(image[1] > 127).to(torch.uint8) for image in images]
        return [Pixels(labels, torch.ones(labels.shape)) for labels in light]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--num", type=int, nargs="+", default=[1000, 10000], help="numbers of images (%(default)s)")
    parser.add_argument("--size", type=int, default=160, help="side of an image in pixels (%(default)s)")
    parser.add_argument("--shard-size", type=int, default=250, help="images a shard (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="data loader processes (%(default)s)")
    options = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for num in options.num:
            images = Path(folder) / f"images_{num}"
            make_images(images, num, options.size)
            results.append(measure(images, num, options))
    print(speed_text(results))


def make_images(folder: Path, num: int, size: int) -> None:
    """Write smooth random JPEGs of ``size`` x ``size`` pixels, a thousand a folder."""
    random = np.random.default_rng(0)
    for number in range(num):
        path = folder / f"{number // FOLDER_SIZE:04d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(path)


def measure(images: Path, num: int, options: argparse.Namespace) -> Speed:
    """Label a folder in a fresh process, and watch it from this one.

    Raises:
        SystemExit: it failed; it has said why.
    """
    config = RunConfig(
        job="label",
        name="bench",
        output=str(images.parent / f"labels_{num}"),
        label=LabelConfig(
            images=str(images),
            boxes={"_target_": "bench_labeling.FixedBoxes"},
            masks={"_target_": "bench_labeling.DarkOrLight"},
            shard_size=options.shard_size,
            num_drawn=0,
        ),
        runtime=RuntimeConfig(device="cpu", workers=options.workers, threads=1, log_every=1000000),
    )
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_label, args=(config, sender))
    process.start()
    assert process.pid is not None
    peak = _watch(process.pid, process)
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return Speed(num, receiver.recv(), _median_speed(Path(config.output)), peak)


def _median_speed(folder: Path) -> float:
    tallies = [Tally.from_json(path.read_text(encoding="utf-8")) for path in folder.glob(f"{SHARDS}/*/{TALLY}")]
    return statistics.median(tally.num_images / tally.seconds for tally in tallies)


@one_line_errors()
def _label(config: RunConfig, sender: multiprocessing.connection.Connection) -> None:
    """Label, and send the seconds that it took."""
    sys.path.append(str(Path(__file__).parent))
    started = time.perf_counter()
    run_job(config)
    sender.send(time.perf_counter() - started)


def _watch(pid: int, process: multiprocessing.process.BaseProcess) -> int:
    """Return the peak of the bytes that a process and its children hold, until it ends."""
    peak = 0
    while process.is_alive():
        peak = max(peak, sum(map(_resident, _family(pid))))
        process.join(0.05)
    return peak


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended meanwhile
        return []
    return [pid, *(member for child in children for member in _family(child))]


def _resident(pid: int) -> int:
    """Return the bytes of a process, its share of the pages that it shares with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def speed_text(results: Sequence[Speed]) -> str:
    """Return the table."""
    rows = [
        (f"{r.num_images:,}", f"{r.seconds:.1f}", f"{r.images_per_second:.1f}", f"{r.peak / 2**20:.0f}")
        for r in results
    ]
    return aligned(("images", "seconds", "images/s", "MiB peak"), rows)


if __name__ == "__main__":
    main()
