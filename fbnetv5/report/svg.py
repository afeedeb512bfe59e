"""Inline SVG, as escaped elements that take their colours from the page's style, and numbers for people."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; ``class_`` and ``stroke_width`` are written class and stroke-width, all values escaped."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = Markup("").join(Markup(' {}="{}"').format(key, short(value)) for key, value in pairs)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), opening, Markup("").join(map(escape, children)))


def drawing(title: str, width: float, height: float, *children: object, class_: str = "chart") -> Markup:
    """Return an svg element that fills its place; ``title`` says what a person who does not see it should know."""
    box = f"0 0 {short(width)} {short(height)}"
    return element("svg", element("title", title), *children, class_=class_, role="img", viewBox=box)


def short(value: object) -> object:
    """Return a float as a coordinate, to a tenth; anything else as it is."""
    if not isinstance(value, float):
        return value
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


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


def coordinates(places: Sequence[tuple[float, float]]) -> str:
    """Return the ``points`` of a polyline."""
    return " ".join(f"{short(x)},{short(y)}" for x, y in places)
