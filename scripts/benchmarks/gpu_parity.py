"""What a GPU computes beside what a CPU does, and what two processes on it compute beside one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from fbnetv5.base.devices import tf32_products
from fbnetv5.base.distributed import World
from fbnetv5.base.seeding import forked
from fbnetv5.config.read import load_config
from fbnetv5.jobs.search import build_run

QUICKSTART = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"
TINY_SEARCH = (
    "tasks.det=null",  # its samples come from the device's own generator
    "model.num_stages=2",
    "data.shapes={num_images: 64, size: 64}",
    "data.short_side=64",
    "data.crop=64",
    "search.steps=20",
    "search.batch_size=8",
    "search.num_samples=4",
    "search.arch_start=0",
    "search.last_look.candidates=0",
    "optimizer.lr=0.02",
    "runtime.workers=0",
)
STEPS = 4
SEARCH_TOLERANCE = 1e-3  # relative, of losses; a step multiplies a rounding error by less than 10
BN_TOLERANCE = 1e-4


def compare_search(device: torch.device) -> dict[str, Any]:
    """Take the first steps of a tiny search in float32, without TF32, on the CPU and on the device."""
    with tf32_products(False):
        expected, found = (_losses(one) for one in (torch.device("cpu"), device))
    error = max(abs(found[key] - value) / max(abs(value), 1e-3) for key, value in expected.items())
    told = f"losses of {STEPS} steps differ by {error:.1e} of themselves at most; {SEARCH_TOLERANCE:g} is allowed"
    return {"status": "passed" if error <= SEARCH_TOLERANCE else "failed", "error": error, "told": told}


def _losses(device: torch.device) -> dict[str, float]:
    run = build_run(load_config(QUICKSTART, TINY_SEARCH), World(rank=0, size=1, device=device))
    run.model.train()
    return {
        f"{name} at step {step}": value
        for step, batch in zip(range(STEPS), run.batches(0), strict=False)
        for name, value in run.step(step, batch).items()
        if name.startswith("loss/")
    }


def compare_batch_norm(device: torch.device) -> dict[str, Any]:
    """Normalise a batch that two processes on the device share, and the same batch in one.

    Raises:
        NotImplementedError: the device is a CPU, where torch does not synchronise batch normalisation.
    """
    if device.type != "cuda":
        raise NotImplementedError("torch synchronises batch normalisation on GPUs alone")
    images = _images().to(device)
    expected = _normalised(nn.BatchNorm2d(8).to(device), images)
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_rank, (folder, str(device)), nprocs=2, start_method="spawn")
        parts = [torch.load(Path(folder) / f"{rank}.pt", map_location=device, weights_only=True) for rank in range(2)]
    found = [torch.cat([part[index] for part in parts]) for index in range(2)]
    error = max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))
    told = f"outputs and gradients differ by {error:.1e} at most; {BN_TOLERANCE:g} is allowed"
    return {"status": "passed" if error <= BN_TOLERANCE else "failed", "error": error, "told": told}


def _rank(rank: int, folder: str, device: str) -> None:
    """Normalise half of the batch; gloo, as nccl wants a device a process."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    layer = nn.SyncBatchNorm(8).to(device)
    torch.save(_normalised(layer, _images().chunk(2)[rank].to(device)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _images() -> Tensor:
    with forked(0):
        return torch.randn(8, 8, 16, 16)


def _normalised(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the layer's output, and the gradient of the sum of its cubes for the images."""
    images = images.clone().requires_grad_()
    output = layer(images)
    output.pow(3).sum().backward()
    assert images.grad is not None
    return [output.detach(), images.grad]
