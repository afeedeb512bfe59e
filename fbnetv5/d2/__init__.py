"""Detectron2 and D2Go for those who have them: the only code that imports them, and which nothing in the core imports.

:func:`register` makes our parts known to Detectron2's registries; importing this package alone does nothing.
"""

from __future__ import annotations

import importlib

from fbnetv5.errors import InputError

MODULES = ("detection", "export", "segmentation", "classification", "supernet", "data")  # that add to a registry


def register() -> None:
    """Add backbone, heads, meta-architectures and mappers to the registries of Detectron2 and D2Go; once is enough.

    Raises:
        InputError: Detectron2 or D2Go is not installed.
    """
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")


def not_installed(error: ImportError) -> InputError:
    """Return the one sentence that says what to install, for an import of Detectron2, D2Go or mobile_cv that failed."""
    reason = " ".join(str(error).split())
    return InputError(
        f"fbnetv5.d2 needs Detectron2 and D2Go, which are in no package index ({reason}); follow Detectron2's install "
        "page, then D2Go's install page, both linked from docs/DETECTRON2.md"
    )
