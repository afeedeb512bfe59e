"""A picture of an architecture in the manner of FNA++'s Fig. 7: a box a block, stage by stage."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from fbnetv5.projects.fna.architecture import Architecture, PlacedBlock
from fbnetv5.projects.fna.space import candidate_name
from fbnetv5.report.style import FAINT, GREY, INK, PATH_COLOURS, save, styled

KERNEL_COLOURS = dict(zip((3, 5, 7), PATH_COLOURS, strict=False))
WIDTH = 9.0  # of the figure, in inches
HEIGHT = 2.2
BOX = 0.74  # width of a box, as a part of the distance between blocks
GAP = 0.5  # between stages, in blocks
TALLEST = 6.0  # expansion that a box of full height has


@styled
def draw_architecture(path: Path, architecture: Architecture, title: str) -> None:
    """Draw the blocks as boxes: the colour is the kernel's, the height the width of the block within.

    Args:
        path: a .png, .svg or .pdf file, written atomically.
        architecture: what is drawn.
        title: stands above it.
    """
    blocks = list(architecture.blocks())
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.02, 0.17, 0.96, 0.55))
    places = [index + GAP * block.stage for index, block in enumerate(blocks)]
    for place, block in zip(places, blocks, strict=True):
        _draw_block(axes, place, block)
    for stage in sorted({block.stage for block in blocks}):
        own = [place for place, block in zip(places, blocks, strict=True) if block.stage == stage]
        _draw_stage(axes, own[0], own[-1] + BOX, [block for block in blocks if block.stage == stage])
    axes.set(xlim=(-0.2, places[-1] + 1), ylim=(-0.22, 1.12))
    axes.axis("off")
    figure.text(0.02, 0.92, title, fontsize=9)
    handles = [Patch(color=colour, label=f"{k}x{k} kernel") for k, colour in KERNEL_COLOURS.items()]
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), fontsize=7)
    save(figure, path)


def _draw_block(axes: Axes, place: float, block: PlacedBlock) -> None:
    spec = block.spec
    height = min(1.0, max(0.2, spec.inner_channels(block.in_channels) / block.in_channels / TALLEST))
    colour = KERNEL_COLOURS.get(spec.kernel, FAINT)
    axes.add_patch(Rectangle((place, 0), BOX, height, facecolor=colour, edgecolor=INK, linewidth=0.6))
    label = candidate_name(spec) + (" /2" if spec.stride == 2 else "")
    axes.text(place + BOX / 2, height + 0.03, label, fontsize=5.5, color=INK, ha="center", va="bottom", rotation=90)


def _draw_stage(axes: Axes, start: float, end: float, blocks: list[PlacedBlock]) -> None:
    axes.plot([start, end], [-0.04, -0.04], color=GREY, linewidth=0.8)
    middle, channels = (start + end) / 2, blocks[-1].spec.channels
    axes.text(middle, -0.08, str(channels), fontsize=6.5, color=GREY, ha="center", va="top")
