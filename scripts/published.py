"""The costs that FBNetV5 prints in Tables 2, 6 and 7, and notes on those that differ from what is counted here."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.base.types import Size


@dataclass(frozen=True)
class Printed:
    """A row of a table: a model and what it costs.

    Attributes:
        family: the FBNetV3 family of the trunk.
        size: height and width of the image in pixels, as printed.
        macs: part of the model to its MACs in millions, as printed.
        unit: the last printed digit, in millions of MACs: 100 where the table has 1.0G.
    """

    family: str
    size: Size
    macs: dict[str, int]
    unit: int = 1


@dataclass(frozen=True)
class PrintedTable:
    """One of the paper's tables. ``parts`` names its columns, ``notes`` explains the figures that differ from ours."""

    number: int
    task: str
    title: str
    parts: tuple[str, ...]
    rows: tuple[Printed, ...]
    notes: tuple[str, ...]


def _row(parts: tuple[str, ...], family: str, size: Size, *macs: int) -> Printed:
    return Printed(family, size, dict(zip(parts, macs, strict=True)))


CLASSIFICATION = PrintedTable(
    number=2,
    task="cls",
    title="ImageNet classification, the whole model with 1000 classes",
    parts=("total",),
    rows=(
        Printed("A_R", (160, 160), {"total": 215}),
        Printed("A_C", (224, 224), {"total": 280}),
        Printed("A", (224, 224), {"total": 685}),
        Printed("C", (248, 248), {"total": 1000}, unit=100),
        Printed("F", (272, 272), {"total": 2100}, unit=100),
    ),
    notes=("C and F are printed with two digits, 1.0G and 2.1G.",),
)

_SEGMENTATION_PARTS = ("backbone", "pixel decoder", "transformer decoder", "segmentation module", "total")
SEGMENTATION = PrintedTable(
    number=6,
    task="seg",
    title="ADE20K segmentation with Lite MaskFormer, 150 classes, 100 queries",
    parts=_SEGMENTATION_PARTS,
    rows=(
        _row(_SEGMENTATION_PARTS, "A_C", (384, 384), 945, 162, 139, 82, 1328),
        _row(_SEGMENTATION_PARTS, "A_R", (384, 384), 1389, 162, 139, 82, 1773),
        _row(_SEGMENTATION_PARTS, "A", (384, 384), 2485, 215, 135, 84, 2919),
        _row(_SEGMENTATION_PARTS, "C", (448, 448), 3838, 357, 144, 109, 4448),
        _row(_SEGMENTATION_PARTS, "F", (512, 512), 8502, 550, 155, 142, 9350),
    ),
    notes=(
        "Pixel decoder: the printed figures seem to count GroupNorm, which is not counted here (3 M at 384: 159 + 3 is "
        "the 162 of A_C; of the 10 M that C lacks, it explains 4).",
        "Pixel decoder of F, segmentation module of C and F: what is printed belongs to features larger than the 56x56 "
        "and 64x64 of path 1 at these sizes, and no one feature size gives both columns of F (4263 positions "
        "for the one, 4629 for the other; 64x64 is 4096). The paper does not say where they come from.",
        "Transformer decoder: a full DETR layer is counted here, for A_C 105 M feed-forward, 31 M self-attention, 39 M "
        "cross-attention and 6 M projection; the printed figures leave some of it out. The layer is not made smaller "
        "to meet them, so the totals of the small models come out higher.",
    ),
)

_DETECTION_PARTS = ("backbone", "RPN", "ROI", "total", "average")
DETECTION = PrintedTable(
    number=7,
    task="det",
    title="COCO detection with Lite R-CNN, 80 classes, 30 proposals",
    parts=_DETECTION_PARTS,
    rows=(
        _row(_DETECTION_PARTS, "A_C", (213, 320), 399, 152, 182, 733, 713),
        _row(_DETECTION_PARTS, "A_R", (213, 320), 601, 152, 182, 935, 908),
        _row(_DETECTION_PARTS, "A", (213, 320), 1054, 158, 186, 1398, 1354),
        _row(_DETECTION_PARTS, "A_C", (320, 481), 912, 347, 182, 1441, 1367),
        _row(_DETECTION_PARTS, "A_R", (320, 481), 1372, 347, 182, 1901, 1800),
    ),
    notes=("Images are padded to multiples of 32: 213x320 runs as 224x320, 320x481 as 320x512.",),
)

TABLES = (CLASSIFICATION, SEGMENTATION, DETECTION)
# Reference size in Table 7 to the short side, and the longest long side, that images are resized to (Appendix H).
RESIZE_SIDES: dict[Size, tuple[int, int]] = {(213, 320): (224, 320), (320, 481): (320, 640)}
