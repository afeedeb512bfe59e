"""Architectures: a macro structure and a type for each block, and the YAML file that they are kept in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from fbnetv5.archs.cost import Cost
from fbnetv5.base.documents import check_keys, read_document
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Size
from fbnetv5.projects.fpnas.macro import Macro, Place
from fbnetv5.projects.fpnas.space import BlockType, block_type, valid_types

HEADER = "# An FPNAS network: the layers before the blocks, then each block's type, output channels and stride.\n"
LARGEST_MULTIPLIER = 64.0


@dataclass(frozen=True)
class Architecture:
    """A network as data.

    Attributes:
        macro: what is not searched.
        types: one a block.

    Raises:
        InputError: there is not one type a block, or one is not valid where it stands.
    """

    macro: Macro
    types: tuple[BlockType, ...]

    def __post_init__(self) -> None:
        if len(self.types) != len(self.macro.places):
            raise InputError(f"{len(self.types)} block types were given for {len(self.macro.places)} blocks")
        for number, (chosen, position) in enumerate(zip(self.types, self.macro.positions, strict=True), 1):
            if not chosen.fits(position):
                known = ", ".join(valid.name for valid in valid_types(position))
                raise InputError(
                    f"block {number} cannot be '{chosen.name}': from {position.in_channels} to {position.out_channels} "
                    f"channels at stride {position.stride} it can be {known}"
                )

    @classmethod
    def of(cls, macro: Macro, names: Sequence[str]) -> Architecture:
        """Return the architecture whose blocks have types of these names, such as ``add k3e6``."""
        return cls(macro, tuple(map(block_type, names)))

    def with_type(self, position: int, chosen: BlockType) -> Architecture:
        """Return the architecture with another type at ``position`` (0-based)."""
        return replace(self, types=(*self.types[:position], chosen, *self.types[position + 1 :]))

    def block_costs(self, size: Size) -> tuple[Cost, ...]:
        """Return MACs and parameters of each block, for images of ``size`` (height, width)."""
        at = zip(self.types, self.macro.positions, self.macro.sizes(size), strict=True)
        return tuple(chosen.cost(position, where)[0] for chosen, position, where in at)

    def cost(self, size: Size) -> Cost:
        """Return MACs and parameters without a head, for images of ``size`` (height, width)."""
        return sum(self.block_costs(size), self.macro.fixed_cost(size))

    def scaled(self, multiplier: float, divisor: int = 8) -> Architecture:
        """Return the architecture with all channels times ``multiplier``, rounded to multiples of ``divisor``."""
        return replace(self, macro=self.macro.scaled(multiplier, divisor))

    def scaled_to(
        self, bound: float, macs: Callable[[Architecture], float], divisor: int = 8
    ) -> tuple[Architecture, float]:
        """Return the widest scaled architecture with fewer MACs than ``bound``, and its multiplier.

        Args:
            bound: as in eq. 2, in the unit of ``macs``.
            macs: of an architecture with its head, such as ``classifier_macs``; it grows with the channels.
            divisor: channels are multiples of this.

        Raises:
            InputError: the narrowest is over the bound.
        """
        low, high = 0.0, LARGEST_MULTIPLIER
        narrowest = macs(self.scaled(low, divisor))
        if narrowest >= bound:
            raise InputError(
                f"a bound of {bound:,.0f} MACs is met by no width of this network: with {divisor} channels everywhere "
                f"it has {narrowest:,.0f}; raise the bound, or use smaller images"
            )
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (middle, high) if macs(self.scaled(middle, divisor)) < bound else (low, middle)
        return self.scaled(low, divisor), low

    def as_dict(self) -> dict[str, Any]:
        """Return the architecture as plain data, which ``from_dict`` reads."""
        stem, first = (
            {"channels": place.channels, "stride": place.stride} for place in (self.macro.stem, self.macro.first)
        )
        blocks = [
            {"type": chosen.name, "channels": place.channels, "stride": place.stride}
            for chosen, place in zip(self.types, self.macro.places, strict=True)
        ]
        return {"stem": stem, "first": first, "blocks": blocks}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], name: str = "architecture") -> Architecture:
        """Return the architecture that ``as_dict`` or a file describes; ``info`` is ignored.

        Raises:
            InputError: it describes none; the message starts with ``name`` and says what is wrong where.
        """
        try:
            return _parsed(document)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error

    def save(self, path: str | os.PathLike[str], info: Mapping[str, Any] | None = None) -> None:
        """Write the architecture as YAML, atomically, with free-form ``info`` (plain data) for those who read it.

        Raises:
            InputError: the file cannot be written.
        """
        document = {**self.as_dict(), **({"info": dict(info)} if info else {})}
        write_text(path, HEADER + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Architecture:
        """Read an architecture that ``save`` or a person wrote.

        Raises:
            InputError: the file cannot be read, or describes no architecture; the message says what is wrong where.
        """
        return read_document(path, "architecture", _parsed)


def _parsed(document: Any) -> Architecture:
    entries = check_keys(document, ("stem", "first", "blocks"), ("info",))
    blocks = entries["blocks"]
    if not isinstance(blocks, list) or not blocks:
        raise InputError("blocks should be a list with an entry for each block")
    places, types = [], []
    for number, entry in enumerate(blocks, 1):
        where = f"block {number}"
        block = check_keys(entry, ("type", "channels", "stride"), where=where)
        places.append(_place(block, where))
        if not isinstance(block["type"], str):
            raise InputError(f"{where}: type is {block['type']!r}, not a name such as 'add k3e6'")
        types.append(block_type(block["type"]))
    stem, first = (
        _place(check_keys(entries[name], ("channels", "stride"), where=name), name) for name in ("stem", "first")
    )
    return Architecture(Macro(stem, first, tuple(places)), tuple(types))


def _place(entry: Mapping[str, Any], where: str) -> Place:
    channels, stride = entry["channels"], entry["stride"]
    if type(channels) is not int or channels < 1:
        raise InputError(f"{where}: channels is {channels!r}, not a number of at least 1")
    if type(stride) is not int or stride not in (1, 2):
        raise InputError(f"{where}: stride is {stride!r}, not 1 or 2")
    return Place(channels, stride)
