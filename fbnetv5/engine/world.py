"""The processes of a run as its configuration wants them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fbnetv5.base.distributed import World, start_world
from fbnetv5.config.schema import RuntimeConfig


def world_of(runtime: RuntimeConfig, *, sums_gradients: bool = True) -> AbstractContextManager[World]:
    """Join the processes of a run, or run alone; see :func:`~fbnetv5.base.distributed.start_world`."""
    return start_world(
        runtime.device, runtime.threads, runtime.tf32, timeout=runtime.timeout, sums_gradients=sums_gradients
    )
