"""Randomness keyed by what it is for, so that a draw does not depend on what was drawn before it.

Every random decision of a run takes its seed from ``(seed, purpose, step, ...)``. A resumed run, a run on more
processes and a run with more data loader workers therefore draw the same numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum

import numpy
import torch


class Purpose(IntEnum):
    """Purpose of a stream of random numbers; part of every key, so that streams never coincide."""

    ARCHITECTURES = 0
    ORDER = 1
    AUGMENTATION = 2
    HEADS = 3
    SHAPES = 4
    INITIALISATION = 5
    CALIBRATION = 6
    ABLATION = 7
    SPLIT = 8
    SCORES = 9
    LAST_LOOK = 10


def derive_seed(seed: int, *key: int) -> int:
    """Mix non-negative integers into one 63-bit seed. Unlike a sum, different keys give unrelated streams.

    Zeros at the end of a short key do not count: ``(7,)`` and ``(7, 0)`` are one key.
    """
    words = numpy.random.SeedSequence([seed, *key]).generate_state(2, numpy.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def generator(seed: int, *key: int) -> torch.Generator:
    """Return a CPU generator that depends on the key alone."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))


@contextlib.contextmanager
def forked(seed: int, *key: int, device: torch.device | None = None) -> Iterator[None]:
    """Run library code that draws from torch's global generators under a seed of its own, then restore them.

    Args:
        seed, key: as for :func:`derive_seed`.
        device: a CUDA device whose generator the code draws from too.
    """
    mixed = derive_seed(seed, *key)
    on_cuda = device is not None and device.type == "cuda"
    # torch.manual_seed would also queue a seeding of every CUDA device, 100 times the cost of all of this
    state = torch.default_generator.get_state()
    with torch.random.fork_rng(devices=[device] if on_cuda else [], enabled=on_cuda):
        if on_cuda:
            torch.cuda.manual_seed(mixed)
        torch.default_generator.manual_seed(mixed)
        try:
            yield
        finally:
            torch.default_generator.set_state(state)


def draw_base() -> int:
    """Draw from torch's global CPU generator the number that :func:`named` is keyed by: one draw, whatever is built."""
    return int(torch.randint(2**62, (), device="cpu"))


def named(base: int, name: str) -> contextlib.AbstractContextManager[None]:
    """Run code that draws first values from torch's global CPU generator under a seed of ``base`` and a name alone.

    Modules of the same name then start alike, whatever is built beside them.
    """
    return forked(base, Purpose.INITIALISATION, *name.encode())
