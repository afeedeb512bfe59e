"""Detectron2 and D2Go for those who have them: the only code that imports them, and which nothing in the core imports.

:func:`register` makes our parts known to Detectron2's registries; importing this package alone does nothing.
"""

from __future__ import annotations

import importlib

from fbnetv5.base.errors import InputError

DETECTRON2_MODULES = ("detection", "data")  # that add to a registry
D2GO_MODULES = ("export", "segmentation", "classification", "supernet")


def register() -> None:
    """Add backbone, heads, meta-architectures and mappers to the registries of Detectron2 and D2Go; once is enough.

    With Detectron2 alone these are the backbone and the heads of detectors.

    Raises:
        InputError: Detectron2 is not installed.
    """
    for name in DETECTRON2_MODULES:
        importlib.import_module(f"{__name__}.{name}")
    try:
        importlib.import_module("d2go")
    except ModuleNotFoundError:
        return
    for name in D2GO_MODULES:
        importlib.import_module(f"{__name__}.{name}")


def not_installed(error: ImportError) -> InputError:
    """Return the one sentence that says what to install, for an import of Detectron2, D2Go or mobile_cv that failed."""
    reason = " ".join(str(error).split())
    return InputError(
        f"fbnetv5.d2 needs Detectron2 and D2Go, which are in no package index ({reason}); follow Detectron2's install "
        "page, then D2Go's install page, both linked from docs/DETECTRON2.md"
    )
