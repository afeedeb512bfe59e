"""What a check finds: a line a fault, with how many and the first few, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 3  # examples that are printed
KEPT = 100  # that JSON has


@dataclass(frozen=True)
class Finding:
    """A fault or a fact.

    Attributes:
        kind: a short name that does not change.
        text: what it is, for people.
        count: how often.
        examples: the first ones, such as names of images.
        stops: whether it would stop a run.
        split: train, val, or nothing where it is of both.
    """

    kind: str
    text: str
    count: int
    examples: tuple[str, ...]
    stops: bool
    split: str

    def line(self) -> str:
        """Return it as it is printed."""
        shown = "; ".join(self.examples[:SHOWN])
        more = f"; and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
        mark = "STOPS" if self.stops else "look"
        split = f"{self.split}: " if self.split else ""
        number = f"{self.count:,} " if self.count > 1 or not shown else ""
        return f"{mark:<5} {split}{number}{self.text}{f': {shown}{more}' if shown else ''}"


@dataclass
class Findings:
    """All of a check, in the order that they are made."""

    entries: list[Finding] = field(default_factory=list)

    def add(self, kind: str, text: str, examples: Sequence[str], *, split: str = "", stops: bool = False) -> None:
        """Add a finding, unless there are no examples."""
        if examples:
            self.entries.append(Finding(kind, text, len(examples), tuple(examples[:KEPT]), stops, split))

    @property
    def stop(self) -> bool:
        """Whether any would stop a run."""
        return any(entry.stops for entry in self.entries)

    def as_json(self) -> list[dict[str, Any]]:
        """Return them as plain data."""
        return [asdict(entry) for entry in self.entries]
