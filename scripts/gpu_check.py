"""Check this project on one GPU, in eight minutes at most.

    python scripts/gpu_check.py [--json FILE]          # make gpu-check
    python scripts/gpu_check.py --device cpu --tiny    # whether the script itself runs, in seconds

The parts: a tiny search equals that of the CPU in float32; batch normalisation of two processes on the one device is
that of one; an iteration of family A's search at full size in bfloat16, its network, and timm's hrnet_w18_small_v2, in
images a second and memory, then with blocks compiled by torch.compile and in CUDA graphs. A part that fails says why,
and the next one begins. Ends with status 1 where one does not compute what it should, or fails on a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from benchmarks.gpu_parity import compare_batch_norm, compare_search
from benchmarks.gpu_speed import FULL_SIZE, TINY, Speed, measure_speed
from benchmarks.tables import aligned

from fbnetv5.base.devices import pick_device
from fbnetv5.base.errors import one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import parser_of

MINUTES = 8.0


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where a check fails."""
    options = _parser().parse_args(arguments)
    device = pick_device(options.device, 0)
    results = check(device, TINY if options.tiny else FULL_SIZE, time.monotonic() + 60 * options.minutes)
    print(_text(results))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.json, json.dumps(results, indent=2) + "\n")
    if any(part["status"] == "failed" for part in results["parts"].values()):
        raise SystemExit(1)


def check(device: torch.device, speed: Speed, deadline: float) -> dict[str, Any]:
    """Run all parts until ``deadline``, of ``time.monotonic``; return their results as plain data."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "search, float32, beside the CPU": partial(compare_search, device),
        "batch normalisation of two processes": partial(compare_batch_norm, device),
        "speed": partial(measure_speed, device, speed, "eager"),
        "speed, blocks compiled": partial(measure_speed, device, speed, "compiled"),
        "speed, CUDA graphs": partial(measure_speed, device, speed, "graphs"),
    }
    return {"machine": _machine(device), "parts": {name: _run(part, deadline) for name, part in parts.items()}}


def _run(part: Callable[[], dict[str, Any]], deadline: float) -> dict[str, Any]:
    """Return what a part found, ``passed``, ``failed`` or ``not possible`` with the reason, and its seconds."""
    begin = time.monotonic()
    try:
        with _until(deadline):
            found = part()
    except NotImplementedError as error:
        found = {"status": "not possible", "reason": str(error)}
    except TimeoutError:
        found = {"status": "not possible", "reason": "the time was up"}
    except Exception as error:  # whatever it is, the other parts tell more
        found = {"status": "failed", "reason": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    return {"status": "passed", **found, "seconds": round(time.monotonic() - begin, 1)}


@contextlib.contextmanager
def _until(deadline: float) -> Iterator[None]:
    """Raise TimeoutError within the context once the time has come."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, deadline - time.monotonic()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _machine(device: torch.device) -> dict[str, Any]:
    machine: dict[str, Any] = {"device": "CPU", "torch": torch.__version__, "cores": os.cpu_count()}
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        machine |= {"device": about.name, "gigabytes": round(about.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return machine


def _text(results: dict[str, Any]) -> str:
    """Return what was found as tables."""
    lines = [", ".join(f"{key} {value}" for key, value in results["machine"].items()), ""]
    for name, part in results["parts"].items():
        about = part.get("reason", part.get("told", ""))
        lines.append(f"  {part['status']:12}  {name} ({part['seconds']} s): {about}")
    timed = [
        (row["name"], f"{row['images_per_second']:.1f}", f"{row['macs'] / 1e9:.2f}", _gigabytes(row["peak_bytes"]))
        for part in results["parts"].values()
        for row in part.get("rows", ())
    ]
    if timed:
        lines += ["", aligned(("what", "images/s", "G MACs an image", "peak GB"), timed)]
    return "\n".join(lines)


def _gigabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="cuda", help="(default: cuda)")
    parser.add_argument("--tiny", action="store_true", help="a tiny network and a few images, for a CPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"when to stop (default: {MINUTES:g})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    return parser


if __name__ == "__main__":
    main()
