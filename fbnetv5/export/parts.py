"""The parts of a deployed model by name: which are computed in int8, and which stay in float32."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fbnetv5.export.deployed import DeployedModel


def part_of(name: str) -> str:
    """Return a module's name as torch.export writes it, without what stands for the model itself."""
    return name.removeprefix("L['self'].").removeprefix("self.")


def is_quantised(module: str, float_parts: Sequence[str]) -> bool:
    """Return whether an operation of a module is computed in int8.

    Layers are: what is in modules of their own. What network and head compute themselves, such as fusions and boxes,
    stays in float32.

    Args:
        module: its name in the :class:`DeployedModel`.
        float_parts: modules that stay in float32, with all that is in them.
    """
    if any(module == part or module.startswith(f"{part}.") for part in float_parts):
        return False
    return module.startswith(("network.", "head."))


def candidate_parts(model: DeployedModel) -> list[str]:
    """Return the parts that may be left in float32 one by one: partitions, blocks, and the layers of the head."""
    network = [f"network.{name}" for name, child in _children(model.network)]
    head = [f"head.{name}" for name, child in _children(model.head)]
    return network + head


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold parameters, opened up as far as lists, dictionaries and the R-CNN's two stages."""
    found = []
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        opens = isinstance(child, (nn.ModuleList, nn.ModuleDict)) or name in ("rpn", "roi")
        found += [(f"{name}.{inner}", part) for inner, part in _children(child)] if opens else [(name, child)]
    return found
