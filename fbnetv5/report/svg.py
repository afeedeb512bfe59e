"""Figures as SVG within a page: small, with text that can be read and searched, in the page's own colours.

A colour of the style becomes a variable of the page's style sheet, with the colour itself where the page has none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from fbnetv5.report import style

VARIABLES = {
    style.INK: "ink",
    style.GREY: "grey",
    style.FAINT: "faint",
    style.GHOST: "ghost",
    style.RULE: "rule",
    style.EDGE: "edge",
    style.DOWN: "down",
    style.UP: "up",
    style.UNSEEN: "unseen",
    style.SELECT: "select",
    style.SKIP: "skip",
    **{colour: f"p{path}" for path, colour in enumerate(style.PATH_COLOURS)},
    "#ffffff": "panel",
}
PIXELS_PER_POINT = 96 / 72
GEOMETRY = ("d", "x", "y", "width", "height")
FONT = "var(--font,'DejaVu Sans')"
LEFT_OUT = ("metadata", "style")
NEEDLESS = re.compile(r"font-family:[^;]*;?|stroke-dashoffset:0;")  # the font is that of the whole drawing
UNTURNED = "rotate(-0 "  # what matplotlib writes for text that lies as it should


def inline(figure: Figure, said: str, class_: str = "drawing") -> Markup:
    """Return a figure as an svg element; equal figures give equal bytes.

    Args:
        figure: made under the style's settings.
        said: what a person who does not see it should know; empty where it is for the eye only.
        class_: of the element.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({**style.RC, "svg.fonttype": "none", "svg.hashsalt": said}):  # ids differ within a page
        figure.savefig(buffer, format="svg", metadata=nothing)
    drawn = ElementTree.fromstring(buffer.getvalue())
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    size = {"width": _short(width * PIXELS_PER_POINT), "height": _short(height * PIXELS_PER_POINT)}
    spoken = {"role": "img"} if said else {"aria-hidden": "true"}
    box = {"viewBox": f"0 0 {_short(width)} {_short(height)}", "style": f"font-family:{FONT};stroke-linejoin:round"}
    root = Element("svg", {"class": class_, **spoken, **size, **box})
    if said:
        ElementTree.SubElement(root, "title").text = said
    root.extend(_slim(drawn))
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # which escapes what it writes


def _slim(parent: Element, *, in_defs: bool = False) -> Iterator[Element]:
    """The elements below ``parent`` without groups, names and digits that change nothing."""
    for child in parent:
        tag = _local(child.tag)
        if tag in LEFT_OUT:
            continue
        if tag == "g" and set(child.attrib) <= {"id"}:
            yield from _slim(child, in_defs=in_defs)
            continue
        kept = Element(tag, dict(_attributes(child, in_defs)))
        kept.text = (child.text or "").strip()
        kept.extend(_slim(child, in_defs=in_defs or tag == "defs"))
        if tag != "defs" or len(kept):
            yield kept


def _attributes(element: Element, in_defs: bool) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        name = _local(name)
        if name == "style":
            yield name, _in_page_colours(NEEDLESS.sub("", re.sub(r"([:;,]) +", r"\1", value)))
        elif name in GEOMETRY:
            yield name, re.sub(r"-?\d+\.\d+", lambda number: _short(float(number[0])), _joined(value))
        elif (name != "id" or in_defs) and not value.startswith(UNTURNED):
            yield name, value


def _joined(path: str) -> str:
    return re.sub(r" ?([A-Za-z]) ?", r"\1", " ".join(path.split()))


def _in_page_colours(text: str) -> str:
    def variable(colour: re.Match[str]) -> str:
        name = VARIABLES.get(colour[0])
        return f"var(--{name},{colour[0]})" if name else colour[0]

    return re.sub(r"#[0-9a-f]{6}", variable, text)


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _short(value: float) -> str:
    """A coordinate to a tenth of a point."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
