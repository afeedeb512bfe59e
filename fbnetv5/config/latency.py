"""Keys of how latency is measured, ``search.latency``."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.base.limits import MAX_IMAGES
from fbnetv5.config.option import option


@dataclass
class LatencyConfig:
    """How latency is measured where it is the cost."""

    batch_size: int = option(1, "images at a time", minimum=1, maximum=MAX_IMAGES)
    repeats: int = option(
        50,
        "times that each part of the network is timed; the median counts. A command is asked a tenth as often",
        minimum=1,
    )
    runtime: str = option(
        "torch",
        "what runs the parts: torch, as the search does; or executorch, onnx or litert, each part exported to a file",
        choices=("torch", "executorch", "onnx", "litert"),
    )
    precision: str = option("fp32", "of the files: fp32 or int8", choices=("fp32", "int8"))
    threads: int | None = option(
        None, "CPU threads that files run with; null: as many as torch has here", minimum=1, maximum=4096
    )
    size: list[int] | None = option(
        None, "height and width in pixels of the images that final models see; null: data.crop"
    )
    command: str | None = option(
        None,
        "what times a file on another device: {file}, {name}, {threads} and {shape} stand for those of the file, && "
        "for what comes next, without a shell; it prints milliseconds last. null: this machine",
    )
    device: str | None = option(
        None, "name of the device that the command asks, by which its times are kept; null: the command itself"
    )
    pattern: str | None = option(
        None,
        "regular expression of the milliseconds in what the command prints, in its one group; null: the last number",
    )
    timeout: float = option(120, "seconds that the command may take for a file", minimum=0.1, maximum=86400)
    table: str | None = option(
        None, "file of milliseconds that scripts/latency_table.py wrote, to use instead of measuring"
    )
