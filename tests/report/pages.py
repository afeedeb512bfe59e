"""Reads a page as a browser would, and complains where a browser would guess."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link"}
LOADING = ("src", "href", "xlink:href", "srcset", "poster", "data", "action", "background")


class Page(HTMLParser):
    """A page's elements, its text by element, and what it would load; raises AssertionError for a bad nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.styles = ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag}: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        elif self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """Everything that can be read."""
        return "\n".join(text for texts in self.texts.values() for text in texts)

    @property
    def loads(self) -> list[str]:
        """Addresses that the page would fetch, embedded data and its own parts aside."""
        found = [
            value or "" for _, attributes in self.elements for name, value in attributes.items() if name in LOADING
        ]
        styles = self.styles + "".join(attributes.get("style") or "" for _, attributes in self.elements)
        found += re.findall(r"url\(([^)]*)\)|@import ([^;]*)", styles)
        return [value for value in found if not str(value).startswith(("data:image/", "#"))]

    def data(self) -> list[float]:
        """The exact numbers behind those that are shown."""
        return [float(attributes["value"] or "nan") for tag, attributes in self.elements if tag == "data"]
