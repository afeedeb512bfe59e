"""Tables of studies in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

NOTHING = "-"


def markdown_table(rows: Sequence[Sequence[str]], *, numeric_from: int) -> list[str]:
    """Return the lines of a table, the header first; columns from ``numeric_from`` on are aligned to the right."""
    rule = ["---:" if column >= numeric_from else "---" for column in range(len(rows[0]))]
    return [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]


def spread(values: Sequence[float], *, digits: int = 1, sign: str = "") -> str:
    """Return mean ± standard deviation (n - 1 in the denominator; left out for one value)."""
    if not values:
        return NOTHING
    mean = f"{statistics.mean(values):{sign}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
