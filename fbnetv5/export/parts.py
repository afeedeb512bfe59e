"""The parts of a deployed model by name: which are computed in int8, and which stay in float32."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from fbnetv5.export.deployed import DeployedModel
from fbnetv5.export.joint import AnyDeployed

INSIDE = re.compile(r"(network|head|heads\.\w+)\.")  # of network and heads, where layers are


def part_of(name: str) -> str:
    """Return a module's name as torch.export writes it, without what stands for the model itself."""
    return name.removeprefix("L['self'].").removeprefix("self.")


def is_quantised(module: str, float_parts: Sequence[str]) -> bool:
    """Return whether an operation of a module is computed in int8.

    Layers are: what is in modules of their own. What network and head compute themselves, such as fusions and boxes,
    stays in float32.

    Args:
        module: its name in the :class:`DeployedModel` or :class:`DeployedJointModel`.
        float_parts: modules that stay in float32, with all that is in them.
    """
    if any(module == part or module.startswith(f"{part}.") for part in float_parts):
        return False
    return INSIDE.match(module) is not None


def candidate_parts(model: AnyDeployed) -> list[str]:
    """Return the parts that may be left in float32 one by one: partitions, blocks, and the layers of heads."""
    heads = {"head": model.head} if isinstance(model, DeployedModel) else model.heads_by_name()
    modules = {"network": model.network, **heads}
    return [f"{start}.{name}" for start, module in modules.items() for name, _ in _children(module)]


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold parameters, opened up as far as lists, dictionaries and the R-CNN's two stages."""
    found = []
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        opens = isinstance(child, (nn.ModuleList, nn.ModuleDict)) or name in ("rpn", "roi")
        found += [(f"{name}.{inner}", part) for inner, part in _children(child)] if opens else [(name, child)]
    return found
