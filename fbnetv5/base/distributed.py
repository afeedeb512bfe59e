"""The processes of a run: one alone, or several started by ``--processes`` or torchrun."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fbnetv5.base.devices import environment_number, pick_device, tf32_products
from fbnetv5.base.watch import TIMEOUT, Watch

BUCKET_BYTES = 25 * 2**20  # DDP's own default
JOINING = timedelta(minutes=10)  # until all processes have started
COLLECTIVE = timedelta(days=1)  # others may evaluate, measure or label meanwhile; of what has died, the watch knows


@dataclass(frozen=True)
class World:
    """This process among those of the run. With ``size`` 1 every method works without torch.distributed."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | None = None  # over the others; none where a framework of its own started them

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    @property
    def exchange(self) -> torch.device:
        """Where tensors lie that processes exchange: on the device, or in memory where gloo carries them."""
        in_memory = self.size == 1 or dist.get_backend() == "gloo"
        return torch.device("cpu") if in_memory else self.device

    def gather(self, local: Tensor) -> Tensor:
        """Concatenate the tensors [..., n] of all ranks, in rank order, to a CPU tensor [..., size * n]."""
        if self.size == 1:
            return local.cpu()
        own = local.detach().to(self.exchange).contiguous()
        every = own.new_empty(self.size * own.numel())
        all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its older name
        all_gather(every, own.flatten())
        return torch.cat(every.cpu().view(self.size, *own.shape).unbind(), dim=-1)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return rank 0's values of a CPU tensor, on every rank."""
        if self.size == 1:
            return tensor
        shared = tensor.to(self.exchange, copy=True).contiguous()
        dist.broadcast(shared, src=0)
        return shared.cpu()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over ranks in flat buckets; a parameter that no sample used gets the gradient zero."""
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self.size > 1:
            self._sum(gradients)

    def average_buffers(self, module: nn.Module) -> None:
        """Average floating-point buffers (BN statistics) over ranks, in place."""
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        if self.size > 1 and buffers:
            self._sum(buffers)
            torch._foreach_div_(buffers, self.size)

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over ranks, in place: a collective for each bucket of one dtype."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            torch._foreach_copy_(bucket, [part.view_as(tensor) for part, tensor in zip(parts, bucket, strict=True)])

    def require_identical(self, fingerprint: int, what: str) -> None:
        """Stop the run unless all ranks hold the same fingerprint, as :meth:`require_equal`."""
        self.require_equal(self.gather(torch.tensor([fingerprint])).tolist(), what)

    def require_equal(self, values: Sequence[float], what: str) -> None:
        """Stop the run unless the values of all ranks are the same.

        Raises:
            RuntimeError: on every rank, naming what differs and which ranks differ from rank 0.
        """
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


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Cut tensors, in their order, into runs of one dtype and at most ``BUCKET_BYTES``, if need be of one tensor."""
    buckets: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        if not buckets or buckets[-1][0].dtype != tensor.dtype or tensor.nbytes > room:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(tensor)
        room -= tensor.nbytes
    return buckets


@contextlib.contextmanager
def start_world(
    device: str, threads: int | None = None, tf32: bool = True, *, timeout: float = TIMEOUT, sums_gradients: bool = True
) -> Iterator[World]:
    """Join the processes that were started (gloo on CPUs, nccl on GPUs), or run alone; leave at the end, together.

    Args:
        device: as :func:`pick_device` takes it.
        threads: torch's CPU threads of this process until the end; its own choice if None.
        tf32: whether float32 products on GPUs may be rounded to TF32.
        timeout: of :class:`~fbnetv5.base.watch.Watch`, in seconds.
        sums_gradients: whether the processes train; gloo is enough for those that do not, also on GPUs.

    Raises:
        InputError: another process has failed; the message says which, and why.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with tf32_products(tf32), _joined(device, timeout, sums_gradients) as world:
            yield world
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _joined(device: str, timeout: float, sums_gradients: bool) -> Iterator[World]:
    """Join the processes of the run, or run alone; leave at the end."""
    if environment_number("WORLD_SIZE", 1) == 1:
        yield World(rank=0, size=1, device=_own_device(device))
        return
    store, rank, size = next(dist.rendezvous("env://", timeout=JOINING))
    watch = Watch(store, rank, size, timeout)
    with contextlib.ExitStack() as stack:
        stack.push(_leave)
        stack.enter_context(watch.over())  # left first: it tells the others why, before the connections break
        where = _own_device(device)
        on_gpus = where.type == "cuda" and sums_gradients
        dist.init_process_group(
            "nccl" if on_gpus else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=COLLECTIVE,
            device_id=where if on_gpus else None,
        )
        yield World(rank, size, where, watch)
        dist.barrier()  # some have less to do at the end


def _leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Leave the other processes; after an error, without waiting for what they will never do."""
    if not dist.is_initialized():
        return
    if kind is not None and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()


def _own_device(name: str) -> torch.device:
    """Return the device of this process, made the current one."""
    where = pick_device(name, environment_number("LOCAL_RANK", 0))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    return where
