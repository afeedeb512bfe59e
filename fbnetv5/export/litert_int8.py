"""LiteRT in int8, by ai-edge-quantizer: activations per tensor, weights per channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from fbnetv5.export.extras import LITERT, needs_extra
from fbnetv5.export.litert import INPUT, SIGNATURE, scopes_of
from fbnetv5.export.parts import is_quantised
from fbnetv5.export.quiet import silent

LAYERS = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED", "ADD", "MUL", "CONCATENATION"),
    *("HARD_SWISH", "RELU", "LOGISTIC", "MEAN", "PAD"),  # which would part these layers
)
Ranges = dict[str, dict[str, Any]]  # "min" and "max" by name of a tensor


def quantised_litert(content: bytes, model: nn.Module, images: Sequence[Tensor], float_parts: Sequence[str]) -> bytes:
    """Return the content of a .tflite file in int8.

    Args:
        content: as :func:`fbnetv5.export.litert.to_litert` returns it.
        model: that it was made from.
        images: to calibrate with, each [1, 3, H, W].
        float_parts: modules that stay in float32.

    Raises:
        InputError: ai-edge-quantizer is not installed.
    """
    with needs_extra("int8 for LiteRT", LITERT), silent():
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(bytearray(content))
        scopes = quantised_scopes(scopes_of(model, images[0]), float_parts)
        for layer in LAYERS:
            quantizer.add_static_config(scopes, layer, activation_num_bits=8, weight_num_bits=8)
        ranges = [
            quantizer.calibrate({SIGNATURE: [{INPUT: image.contiguous().numpy()}]}, num_threads=1) for image in images
        ]
        return bytes(quantizer.quantize(mean_ranges(ranges)).quantized_model)


def quantised_scopes(scopes: Mapping[str, str], float_parts: Sequence[str]) -> str:
    """Return a regular expression of the operators that are computed in int8: those of some modules themselves.

    Args:
        scopes: of the modules by name.
        float_parts: modules that stay in float32.
    """
    inside = {scope for name, scope in scopes.items() if is_quantised(name, float_parts)}
    outside = {scope for name, scope in scopes.items() if not is_quantised(name, float_parts)}
    return f"^(?:{'|'.join(map(re.escape, sorted(inside - outside)))});"


def mean_ranges(ranges: Sequence[Ranges]) -> Ranges:
    """Return the mean of the images' ranges; that of all images would be the strangest one's.

    What is no range of an activation, such as that of weights, is the same for all images.
    """
    first, *_ = ranges
    return {
        name: {
            end: np.mean([one[name][end] for one in ranges], axis=0, dtype=np.float64).astype(np.float32)
            for end in found
        }
        for name, found in first.items()
    }
