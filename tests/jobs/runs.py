"""Small whole runs through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.processes import command_line_of, run, undrawn_command_line_of

ROOT = Path(__file__).parents[2]
TINY = (
    "model.num_stages=2",
    "data.shapes.num_images=64",
    "data.shapes.size=64",
    "data.short_side=64",
    "data.crop=64",
    "search.steps=20",
    "search.batch_size=16",
    "search.num_samples=8",
    "search.arch_start=0",
    "search.arch_lr=0.5",
    "search.last_look={candidates: 12, images: 8, finalists: 2, family: 0, neighbours: false}",
    "optimizer.schedule.name=constant",
    "optimizer.schedule.warmup=0",
    "runtime.device=cpu",
    "runtime.workers=0",
    "runtime.log_every=4",
    "runtime.checkpoint_every=5",
)

SHORT_TRAINING = (
    "data.short_side=64",
    "train.steps=8",
    "train.batch_size=4",
    "train.eval_every=4",
    "evaluate.num_drawn=2",
    "optimizer.schedule.warmup=2",
    "runtime.device=cpu",
    "runtime.threads=1",
    "runtime.workers=0",
    "runtime.log_every=2",
    "runtime.checkpoint_every=3",
)


def arguments(*overrides: str, config: str | Path = "configs/quickstart.yaml", tiny: bool = True) -> list[str]:
    """The arguments of a run; of a tiny search, unless told otherwise."""
    return [f"--config={ROOT / config}", *(TINY if tiny else ()), *overrides]


def torchrun(given: list[str], processes: int) -> subprocess.CompletedProcess[str]:
    """Run what the command line does with these arguments in several processes, as a user starts them."""
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--master_port=0", "--standalone"]
    command = [sys.executable, *launcher, str(ROOT / "train_net.py"), *given]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)


def in_processes(given: list[str], count: int) -> subprocess.CompletedProcess[str]:
    """The same, by the command line's own ``--processes``."""
    command = [sys.executable, str(ROOT / "train_net.py"), *given, f"--processes={count}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)


def environment() -> dict[str, str]:
    """One thread a process: tests share two cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def launch(*overrides: str, processes: int = 1, draws: bool = False, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a run to its end, in processes that did not start Python anew; without its pictures, unless it ``draws``."""
    work = command_line_of if draws else undrawn_command_line_of
    return run(work, arguments(*overrides, **kwargs), processes=processes)


def last_state(folder: Path) -> dict[str, Any]:
    """The training state of a run's last checkpoint."""
    latest = max((folder / "checkpoints").glob("step-*"))
    return torch.load(latest / "state.pt", weights_only=True)


def logits(folder: Path) -> Tensor:
    """The architecture logits of a run's last checkpoint."""
    return last_state(folder)["state"]["algorithm"]["logits"]


def metrics(folder: Path) -> list[dict[str, float]]:
    """A run's metrics without their timings."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]
