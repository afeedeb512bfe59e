"""The look of all pictures, and how they get into files: the same figure gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path

INK, GREY, FAINT, GHOST, RULE = "#1f2933", "#5b6876", "#b8c2cc", "#eceff2", "#e3e8ec"
EDGE, DOWN, UP = "#3e4c59", "#8593a5", "#c2477f"  # edges of a topology: along a path, to lower resolution, to higher
UNSEEN = "#8a97a5"  # the outline of what no output sees
SELECT, SKIP = "#1c5a9e", "#b8560f"
PATH_COLOURS = ("#7cccc0", "#3fa0c8", "#2b66ad", "#1f2f6e")  # light to dark: they stay apart in grey print

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.dpi": 200,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": RULE,
    "legend.frameon": False,
    "svg.hashsalt": "fbnetv5",
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollars
    "xtick.color": GREY,
    "ytick.color": GREY,
}
UNDATED: dict[str, dict[Any, Any]] = {  # the metadata of each format that differ from day to day or machine to machine
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}

styled = matplotlib.rc_context(RC)  # decorates functions that make figures; what is set outside of them stays


@styled
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure into a .pdf, .png or .svg, atomically; equal figures give equal bytes.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in UNDATED:
        raise InputError(f"cannot draw {path}: the name of a picture must end in {', '.join(UNDATED)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=UNDATED[suffix])
