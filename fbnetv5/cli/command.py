"""A subcommand of ``fbnetv5``: what its help says, and what does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fbnetv5.cli.help import classes_text, keys_text, launcher_text


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        summary: what it does, in one line.
        usage: its arguments, as its help shows them.
        run: does it, with the arguments behind its name, and with the command itself.
        examples: of its help.
        keys: starts of the keys that its help lists.
        classes: the kinds of classes that its help lists.
    """

    summary: str
    usage: str
    run: Callable[[str, Command, Sequence[str]], None]
    examples: tuple[str, ...]
    keys: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def parser(self, name: str) -> argparse.ArgumentParser:
        """Return the parser of its arguments; what it does not know are overrides."""
        examples = "\n".join(["examples:", *(f"  fbnetv5 {name} {text}" for text in self.examples)])
        keys = [keys_text(self.keys)] if self.keys else []
        sweeps = [launcher_text()] if "--multirun" in self.usage or name == "sweep" else []
        return argparse.ArgumentParser(
            prog=f"fbnetv5 {name}",
            usage=f"fbnetv5 {name} {self.usage}",
            description=self.summary,
            epilog="\n\n".join([examples, *keys, *sweeps, *map(classes_text, self.classes)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
