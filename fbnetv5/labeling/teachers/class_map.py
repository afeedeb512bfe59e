"""From a teacher's classes to one's own: rename, merge and drop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.labeling.teacher import Boxes, Pixels

OTHERS = ("error", "keep", "drop")


class ClassMap:
    """Turns the class ids of a model into those of the labels.

    Labels keep their scores. Where several of the model's classes become one, their scores are not added: the model
    has chosen before.

    Args:
        names: the model's classes; an id is a position in them. Equal names become one class.
        class_map: the model's class: the class that it becomes, or None to drop it. Without it, all stay as they are.
        others: what happens to classes that ``class_map`` does not name: error, keep or drop.
        unused: names that stand for no class, and are dropped.

    Attributes:
        classes: the classes of the labels, in the order of ``class_map``; what is kept beside them comes after.

    Raises:
        InputError: ``class_map`` names what is no class, misses a class, or leaves none.
    """

    def __init__(
        self,
        names: Sequence[str],
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
        unused: Collection[str] = (),
    ) -> None:
        used = [name for name in dict.fromkeys(names) if name not in unused]
        chosen = _chosen(used, {} if class_map is None else class_map, "keep" if class_map is None else others)
        self.classes = tuple(dict.fromkeys(name for name in chosen.values() if name is not None))
        if not self.classes:
            raise InputError("class_map drops every class of the teacher; keep at least one")
        ids = {name: index for index, name in enumerate(self.classes)}
        self._ids = torch.tensor([ids.get(chosen.get(name) or "", -1) for name in names])  # -1: dropped

    def boxes(self, found: Boxes) -> Boxes:
        """Return the boxes of classes that are not dropped, with the labels' ids."""
        labels = self._ids[found.labels]
        kept = labels >= 0
        return Boxes(found.boxes[kept], labels[kept], found.scores[kept])

    def pixels(self, found: Pixels) -> Pixels:
        """Return the labels' ids; the probability of a dropped class becomes 0, so that the pixel is ignored."""
        labels = self._ids[found.labels.long()]
        kept = labels >= 0
        return Pixels(labels.clamp_min(0).to(torch.uint8), torch.where(kept, found.scores, 0.0))


def _chosen(used: Sequence[str], class_map: Mapping[str, str | None], others: str) -> dict[str, str | None]:
    """Return what each class becomes, None where it is dropped; first those of ``class_map``, in its order."""
    if not isinstance(class_map, Mapping):
        raise InputError(f"class_map is {class_map!r}; it should map classes of the teacher to yours, or to null")
    if others not in OTHERS:
        raise InputError(f"others is '{others}'; it should be one of {', '.join(OTHERS)}")
    for name, own in class_map.items():
        if name not in used:
            raise InputError(f"class_map: '{name}' is no class of the teacher{nearest(str(name), used)}")
        if own is not None and (not isinstance(own, str) or not own):
            raise InputError(f"class_map: '{name}' becomes {own!r}; it should be a name, in quotes, or null")
    left = [name for name in used if name not in class_map]
    if left and others == "error":
        shown = ", ".join(left[:10])
        raise InputError(
            f"class_map misses {len(left)} of the teacher's {len(used)} classes: {shown}"
            f"{' and more' if len(left) > 10 else ''}; map them (to null: drop), or set others to keep or drop"
        )
    return {**class_map, **{name: name if others == "keep" else None for name in left}}
