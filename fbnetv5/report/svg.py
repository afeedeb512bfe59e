"""Figures as SVG within a page: small, with text that can be read and searched, in the page's own colours.

A colour of the style becomes a variable of the page's style sheet, with the colour itself where the page has none.
"""

from __future__ import annotations

import io
import re

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
GROUP = re.compile(r"</?g\b[^>]*>\s*")
TAG = re.compile(r"<[^>]+>\s*")
COLOUR = re.compile(r"#[0-9a-f]{6}")
NUMBER = re.compile(r"-?\d+\.\d{2,}")
SHORTER = (  # of what stands in a tag
    (re.compile(r"\s+"), " "),
    (re.compile(r' transform="rotate\(-0 [^"]*"'), ""),  # of text that lies as it should
    (re.compile(r"font-family: [^;\"]*;? ?|stroke-dashoffset: 0; "), ""),  # the font is that of the whole drawing
    (re.compile(r"(?<=[:;,MLQC]) | (?=[LQCz\"])"), ""),
    (re.compile("xlink:"), ""),
)


def inline(figure: Figure, said: str, class_: str = "drawing") -> Markup:
    """Return a figure as an svg element; equal figures give equal bytes.

    Args:
        figure: made under the style's settings, without groups that are transparent or clipped.
        said: words for a person who does not see it; empty where it is for the eye only.
        class_: of the element.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({**style.RC, "svg.fonttype": "none", "svg.hashsalt": said}):  # ids differ within a page
        figure.savefig(buffer, format="svg", metadata=nothing)
    drawn = buffer.getvalue()
    body = TAG.sub(_slim, GROUP.sub("", drawn[drawn.index("<g ") : drawn.rindex("</svg>")]))
    width, height = (72 * length for length in figure.get_size_inches())
    size = f'width="{width * PIXELS_PER_POINT:.1f}" height="{height * PIXELS_PER_POINT:.1f}"'
    box = (
        f'viewBox="0 0 {width:.1f} {height:.1f}" style="font-family:var(--font,\'DejaVu Sans\');stroke-linejoin:round"'
    )
    spoken = Markup('role="img"><title>{}</title>').format(said) if said else Markup('aria-hidden="true">')
    return Markup('<svg class="{}" {} {} {}{}</svg>').format(class_, Markup(size), Markup(box), spoken, Markup(body))


def _slim(tag: re.Match[str]) -> str:
    """A tag without what changes nothing, its numbers to two decimals, in the page's colours."""
    text = tag[0].strip()
    for pattern, shorter in SHORTER:
        text = pattern.sub(shorter, text)
    return COLOUR.sub(_variable, NUMBER.sub(_rounded, text))


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").removesuffix(".")


def _variable(colour: re.Match[str]) -> str:
    name = VARIABLES.get(colour[0])
    return f"var(--{name},{colour[0]})" if name else colour[0]
