"""What a step would make a GPU wait for, counted on a CPU.

Tensors are marked as the device's: those that are handed over, all that is computed from them, and what is made or
moved with ``device=``. A wait is where the host needs a number of such a tensor (``item``, ``bool``, ``tolist``,
``cpu``), or the size of a result that depends on its numbers (``nonzero``, a mask as an index, suppression), and a
blocking copy from the host: a list made a tensor there, or an index that is not there.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdRef

READS = {"_local_scalar_dense", "equal"}
SIZED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "nms"}
TO_HOST = {Tensor.cpu, Tensor.tolist, Tensor.numpy}
FROM_LISTS = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
MOVES = {Tensor.to}


class Waits(TorchDispatchMode):
    """Counts waits within it: ``found``, by the name of the operation and the lines that lead to it."""

    def __init__(self, on_device: Iterable[Tensor]) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._storages: dict[int, WeakIdRef] = {}
        for tensor in on_device:
            self.mark(tensor)

    @property
    def total(self) -> int:
        return sum(self.found.values())

    def told(self) -> str:
        return "\n".join(f"{count} x {name}" for name, count in self.found.items())

    def mark(self, tensor: Tensor, on_device: bool = True) -> None:
        storage = tensor.untyped_storage()
        if on_device:
            self._storages[id(storage)] = WeakIdRef(storage)
        else:
            self._storages.pop(id(storage), None)

    def is_marked(self, value: Any) -> bool:
        if not isinstance(value, Tensor):
            return False
        ref = self._storages.get(id(value.untyped_storage()))
        return ref is not None and ref() is not None

    def add(self, name: str) -> None:
        frames = [f for f in traceback.extract_stack() if "fbnetv5" in f.filename or "torchvision" in f.filename]
        lines = [f"{frame.filename.rsplit('/', 1)[1]}:{frame.lineno}" for frame in frames[-2:]]
        self.found[f"{name} at {' > '.join(lines)}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        marked = [leaf for leaf in given if self.is_marked(leaf)]
        name = func.overloadpacket.__name__
        if marked and (name in READS | SIZED_BY_VALUES or self._waits_for_index(name, args)):
            self.add(name)
        out = func(*args, **kwargs)
        if marked:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self.mark(leaf)
        return out

    def _waits_for_index(self, name: str, args: Any) -> bool:
        if name not in ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"):
            return False
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return name == "index" or args[2].numel() > 1  # one number is filled in by the mask
        return self.is_marked(args[0]) and not all(map(self.is_marked, indices))


class Calls(TorchFunctionMode):
    """Counts for a :class:`Waits` what dispatches nothing on a CPU."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if func in TO_HOST and self.waits.is_marked(first):
            self.waits.add(func.__name__)
            if func is not Tensor.cpu:
                return func(*args, **kwargs)
            copy = first.detach().clone()
            self.waits.mark(copy, on_device=False)
            return copy
        out = func(*args, **kwargs)
        device = kwargs.get("device") is not None or any(isinstance(one, torch.device) for one in args[1:])
        if func in FROM_LISTS and (device or self.waits.is_marked(first)):
            self.waits.add(func.__name__)
            self.waits.mark(out)
        elif func in MOVES and device and not self.waits.is_marked(first):
            if not kwargs.get("non_blocking"):
                self.waits.add(func.__name__)
            out = out.clone() if out is first else out
            self.waits.mark(out)
        elif device and isinstance(out, Tensor):
            self.waits.mark(out)
        return out


@contextlib.contextmanager
def counted_waits(on_device: Iterable[Tensor]) -> Iterator[Waits]:
    """Within the context, count what makes a GPU wait that holds these tensors and what comes of them."""
    with Waits(on_device) as waits, Calls(waits):
        yield waits
