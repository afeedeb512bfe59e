"""LiteRT: a model as a .tflite file, convolutions and products on XNNPACK; ``litert_int8.py`` quantises it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.types import Size
from fbnetv5.export.extras import LITERT, needs_extra
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.quiet import silent

SIGNATURE = "serving_default"
INPUT = "image"


class NamedInput(nn.Module):
    """A model whose input has the name that files give it.

    Args:
        model: from one image [1, 3, H, W], or a part of one from a feature, to named tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the model's named tensors for an image."""
        named: dict[str, Tensor] = self.model(image)
        return named


def to_litert(model: nn.Module, size: Size, channels: int = 3) -> bytes:
    """Return a model as the content of a .tflite file, whose operators are called as :func:`scopes_of` has them.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        size: (height, width) of the image.
        channels: of the image; of a part of a network, those of the feature that it takes.

    Raises:
        InputError: litert-torch is not installed.
    """
    with needs_extra("LiteRT", LITERT), silent():
        import litert_torch

        image = torch.zeros(1, channels, *size)
        converted = litert_torch.convert(NamedInput(model).eval(), sample_kwargs={INPUT: image})
        content: bytes = bytes(converted.model_content())
    return content


def finished_litert(content: bytes) -> Lowered:
    """Return the file with short names inside; its inputs and outputs keep theirs, which stand in its signature."""
    with silent():
        from ai_edge_litert.tools import flatbuffer_utils

        model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        operators: Counter[str] = Counter()
        for graph in model.subgraphs:
            for number, tensor in enumerate(graph.tensors):
                tensor.name = f"{number:x}".encode()
            operators.update(flatbuffer_utils.opcode_to_name(model, one.opcodeIndex) for one in graph.operators)
        content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return Lowered(content, {"LiteRT": dict(operators.most_common())})


@torch.no_grad()
def scopes_of(model: nn.Module, image: Tensor) -> dict[str, str]:
    """Return, by name of each module, what its operators are called in a file: classes and names, from the model on.

    What is not called itself has no part in that, such as lists of modules.

    Args:
        model: that is converted.
        image: that it takes.
    """
    called: set[nn.Module] = set()
    hooks = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()]
    model(image)
    for hook in hooks:
        hook.remove()
    root = f"{_class_of(NamedInput)}/{_class_of(type(model))}_model"
    scopes = {"": root}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        if name:  # its parent comes before it
            scopes[name] = scopes[parent] + (f"/{_class_of(type(module))}_{own}" if module in called else "")
    return {name: scope for name, scope in scopes.items() if modules[name] in called}


def _class_of(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
