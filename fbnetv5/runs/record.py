"""How a run ended: a small file in its folder, for those who go on with a graph of runs and for tables of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.files import write_text

RECORD = "job.json"
LOG = "job.log"


def write_record(folder: Path, swept: Sequence[str], error: str, seconds: float) -> None:
    """Write how the run in ``folder`` ended.

    Args:
        folder: of the run.
        swept: the overrides that tell it from the other runs of a sweep.
        error: one line; empty if it finished.
        seconds: from its start to its end.
    """
    status = "failed" if error else "finished"
    record = {"status": status, "overrides": list(swept), "error": error, "seconds": round(seconds, 1)}
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """Return what :func:`write_record` wrote; empty where nothing, or nothing that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
