"""The processes of a run: one alone, or several started by torchrun."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fbnetv5.base.devices import environment_number, pick_device, tf32_products

BUCKET_BYTES = 25 * 2**20  # DDP's own default


@dataclass(frozen=True)
class World:
    """This process among those of the run. With ``size`` 1 every method works without torch.distributed."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def gather(self, local: Tensor) -> Tensor:
        """Concatenate the CPU tensors [..., n] of all ranks, in rank order, to [..., size * n]."""
        if self.size == 1:
            return local
        on_device = local.to(self.device).contiguous()
        parts = [torch.empty_like(on_device) for _ in range(self.size)]
        dist.all_gather(parts, on_device)
        return torch.cat([part.cpu() for part in parts], dim=-1)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over ranks in flat buckets; a parameter that no sample used gets the gradient zero."""
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if self.size == 1:
                continue
            if bucket and (
                bucket[0].dtype != parameter.dtype or sum(g.nbytes for g in bucket) + parameter.nbytes > BUCKET_BYTES
            ):
                _sum_flat(bucket)
                bucket = []
            bucket.append(parameter.grad)
        if bucket:
            _sum_flat(bucket)

    def average_buffers(self, module: nn.Module) -> None:
        """Average floating-point buffers (BN statistics) over ranks, in place."""
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.size

    def require_identical(self, fingerprint: int, what: str) -> None:
        """Stop the run unless all ranks hold the same fingerprint.

        Raises:
            RuntimeError: on every rank, naming what differs and which ranks differ from rank 0.
        """
        values = self.gather(torch.tensor([fingerprint])).tolist()
        odd = [rank for rank, value in enumerate(values) if value != values[0]]
        if odd:
            raise RuntimeError(
                f"{what} on rank(s) {', '.join(map(str, odd))} differ from rank 0's; the run stops before the "
                "processes drift apart. Check that all of them run the same code, configuration and library versions."
            )

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


def _sum_flat(gradients: list[Tensor]) -> None:
    """All-reduce tensors of one dtype as one flat tensor, in place."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@contextlib.contextmanager
def start_world(device: str, threads: int | None = None, tf32: bool = True) -> Iterator[World]:
    """Join the processes that torchrun started (gloo on CPUs, nccl on GPUs), or run alone; leave at the end.

    Args:
        device: as :func:`pick_device` takes it.
        threads: torch's CPU threads of this process until the end; its own choice if None.
        tf32: whether float32 products on GPUs may be rounded to TF32.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with tf32_products(tf32), _joined(device) as world:
            yield world
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _joined(device: str) -> Iterator[World]:
    """Join the processes of the run, or run alone; leave at the end."""
    size = environment_number("WORLD_SIZE", 1)
    where = pick_device(device, environment_number("LOCAL_RANK", 0))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if size == 1:
        yield World(rank=0, size=1, device=where)
        return
    on_cuda = where.type == "cuda"
    dist.init_process_group("nccl" if on_cuda else "gloo", device_id=where if on_cuda else None)
    try:
        yield World(rank=dist.get_rank(), size=size, device=where)
    finally:
        dist.destroy_process_group()
