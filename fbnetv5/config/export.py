"""Keys of an export."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.config.option import option


@dataclass
class ExportConfig:
    """Exporting a trained model to devices."""

    model: str | None = option(None, "folder of the trained model")
    formats: list[str] = option(
        lambda: ["executorch"], "executorch, onnx, litert, coreml, torchscript, or several of them"
    )
    precisions: list[str] = option(
        lambda: ["fp32"], "fp32, int8 (of executorch, onnx and litert), fp16 (of coreml), or several of them"
    )
    size: list[int] | None = option(
        None, "[height, width] of the input in pixels; null: the crop, or what most training images are padded to"
    )
    num_calibration: int = option(
        128, "int8: training images that the ranges of activations are measured on", minimum=1
    )
    float_parts: list[str] = option(
        list, "int8: modules that stay in float32, such as network.trunk.0; a sidecar names those that an export chose"
    )
    max_drop: float | None = option(
        2.0,
        "int8: where the metric drops by more points than this, the parts that int8 hurts most go back to float32; "
        "null: never",
        minimum=0,
    )
    num_evaluated: int = option(200, "validation images that a file is rated on, beside the trained model", minimum=1)
    map_stride: int = option(
        1,
        "masks: pixels on a side that share a class in the file; 4 is much faster, and the metrics say its price",
        minimum=1,
    )
