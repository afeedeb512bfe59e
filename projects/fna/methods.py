"""The contract of search methods, and how the architecture that one found is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.drawing import draw_architecture
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.problem import SearchProblem
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.spaces import get_space

ARCHITECTURE = "architecture.yaml"


@dataclass(frozen=True)
class Found:
    """The result of a method.

    Attributes:
        choices: of each slot its candidate.
        info: what the method has to say about it, as plain data.
    """

    choices: tuple[int, ...]
    info: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A search method: a class of any module, ``project.method._target_`` in a config, built from its options."""

    def find(self, problem: SearchProblem, folder: Path) -> Found:
        """Search in the folder of a run, or go on with it if ``problem.config.resume`` is set; all ranks call it.

        Raises:
            InputError: an option, the data or a file is at fault; the message says which.
        """


@dataclass(frozen=True)
class SearchResult:
    """An architecture read back, and where it comes from.

    Attributes:
        architecture: with nominal strides.
        space: that it was found in.
        choices: of each slot its candidate.
        info: all that the file says of it.
    """

    architecture: Architecture
    space: Space
    choices: tuple[int, ...]
    info: Mapping[str, Any]


def write_result(problem: SearchProblem, found: Found, folder: Path) -> None:
    """Write and draw the architecture that was found, and print what it costs."""
    architecture = problem.space.decode(found.choices)
    network = FNANetwork(architecture.to_dict(), output_stride=problem.output_stride)
    macs = network.macs(problem.size)
    params = sum(parameter.numel() for parameter in network.parameters())
    options = problem.options
    names = [row[choice] for row, choice in zip(problem.space.option_names, found.choices, strict=True)]
    info = {
        "task": problem.target.name,
        "space": problem.space.name,
        "choices": list(found.choices),
        "operations": " ".join(names),
        "output_stride": problem.output_stride,
        "backbone_macs": macs,
        "backbone_params": params,
        "input": list(problem.size),
        "searched_with": {
            "run": problem.config.name,
            "seed": problem.config.seed,
            "method": options.method["_target_"],
            "start": options.start,
            "seed_network": options.seed,
            "seed_weights": options.seed_weights,
        },
        **found.info,
    }
    file = folder / ARCHITECTURE
    architecture.save(file, info)
    size = "x".join(map(str, problem.size))
    print(f"found: {info['operations']}")
    cost = f"{macs / 1e6:,.1f} M MACs at {size}, {params / 1e6:.2f} M parameters"
    draw_architecture(file.with_suffix(".png"), architecture, f"{problem.target.name}: {cost}")
    print(f"backbone: {cost}: {file}")


def read_result(folder: Path) -> SearchResult:
    """Read the architecture that a search left in its folder.

    Raises:
        InputError: there is none, it cannot be read, or it is not the one that its choices stand for.
    """
    file = folder / ARCHITECTURE
    if not file.is_file():
        raise InputError(f"project.search={folder} holds no {ARCHITECTURE}: give the folder of a finished search")
    architecture = Architecture.load(file)
    info = yaml.safe_load(file.read_text(encoding="utf-8")).get("info") or {}
    try:
        space, choices = get_space(info["space"]), tuple(map(int, info["choices"]))
        decoded = space.decode(choices)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: info does not say which space and choices it comes from: {error}") from error
    if decoded != architecture:
        raise InputError(
            f"{file}: the blocks are not those of its choices in {space.name}; train a changed architecture with "
            "job=train and model.network.architecture"
        )
    return SearchResult(architecture, space, choices, info)
