"""Numbers for people."""

from __future__ import annotations

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def counted(value: float) -> str:
    """Return a large number to three digits: 1.23 G, 84.9 M, 512."""
    for size, prefix in PREFIXES:
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:.3g}"


def plain(value: float) -> str:
    """Return a number to three significant digits, without needless zeros."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
