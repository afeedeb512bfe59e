"""Checks that the masks of a split tell anything: some of them are opened, until they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import TargetKind
from fbnetv5.data.images import AS_IT_STANDS, mask_values
from fbnetv5.data.index import Index
from fbnetv5.data.mask_codes import MaskCode

MAX_OPENED = 256  # masks, spread over the split
FEWEST = 8  # masks: so few may show one class by chance


def check_masks(index: Index, root: Path, *, num_classes: int = 2, code: MaskCode = AS_IT_STANDS) -> None:
    """Check that the masks of an index show several classes; where they are few, one. As a rule the first one does.

    Args:
        index: with the masks, or none.
        root: the folder that they are relative to.
        num_classes: that there should be at least: 2 to train on, 1 to evaluate on.
        code: what their pixels mean.

    Raises:
        InputError: the masks that were opened show fewer.
    """
    for target in index.targets:
        rows = index.labelled(target.name) if target.kind is TargetKind.MASK else []
        picked = [rows[int(k)] for k in np.linspace(0, len(rows) - 1, min(len(rows), MAX_OPENED))]
        seen: set[int] = set()
        num_read = 0
        for row in picked:
            values = mask_values(root / index.value(target.name, row), code)
            num_read += values is not None
            seen |= values or set()
            if len(seen) >= num_classes:
                break
        if num_read and len(seen) < (num_classes if num_read >= FEWEST else 1):
            raise InputError(_shows(index, target.name, seen, num_read))


def _shows(index: Index, name: str, seen: set[int], count: int) -> str:
    names = index.classes[name]
    shown = [names[value] if 0 <= value < len(names) else str(value) for value in seen]
    found = f"class '{shown[0]}' alone" if shown else "no class: all of their pixels are 255"
    first = index.value(name, index.labelled(name)[0])
    return f"{index.origin}: {count} masks of '{name}', such as {first}, were opened and show {found}"
