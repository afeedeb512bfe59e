"""Tables of studies in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fbnetv5.runs.statistics import interval

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


def chance(p: float | None) -> str:
    """Return a p as tables show it."""
    if p is None:
        return NOTHING
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def difference(pairs: Sequence[float]) -> str:
    """Return the mean of differences, a seed each, with its interval where there are several: +3.0 (+0.5 to +5.5)."""
    if len(pairs) < 2:
        return f"{pairs[0]:+.1f}" if pairs else NOTHING
    mean, half = interval(pairs)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"
