"""How much of what could be found did a search find? Judged by its own supernet, on validation images.

    python scripts/search_gain.py runs/quickstart
    python scripts/search_gain.py runs/seeds/seed-0 --csv docs/search_gain.csv   # for one of several seeds, in a table
    python scripts/search_gain.py runs/quickstart --tasks cls --images-b 1152 data.shapes.num_val_images=1344

J = score / deviation over architectures + the search's cost term. Random architectures are scored on images A and on
images B; from the best of them one-flip descents seek the best architecture there is, on A. Gains are counted on B,
from the mean of the random ones: that of the derived topology, and as the possible one that of the best found on A. The
last line has their ratios. Beside it: how much better the derived topology scores than random ones of the same cost.
Where architectures differ little, as for classification, ratios on 192 images are noise: take more for B.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.types import Source
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_weights
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.config.read import load_config
from fbnetv5.data.sources import build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.jobs.judge import Judge, plain_batches
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.space import relative_costs
from fbnetv5.tasks.multitask import MultitaskNet

SAME_COST = 0.05  # random architectures of the same cost differ by at most this share of it
NUM_SAME_COST = 64
COLUMNS = ("run", "seed", "task", "gain", "possible", "above_same_cost", "better_than", "images_b")


@dataclass(frozen=True)
class Gain:
    """What a derived topology gains over random ones, in deviations of the score over architectures.

    Attributes:
        found: in J over the mean of all.
        possible: the same of the best one that descents find.
        above_same_cost: in score alone over the mean of those of its cost.
        better_than: which share of these has a worse score; NaN, as is the former, where none has its cost.
        images: B, that all of these are counted on.
    """

    found: float
    possible: float
    above_same_cost: float
    better_than: float
    images: int

    @property
    def share(self) -> float:
        """The share of the possible."""
        return self.found / self.possible


class Landscape:
    """Scores of architectures on fixed images, each computed once.

    Args:
        run: a finished search.
        source: the images.
        task: name of the one that is scored.
    """

    def __init__(self, run: SupernetRun, source: Source, task: str) -> None:
        model = run.model
        part = MultitaskNet(model.network, {task: model.tasks[task]}, {task: model.heads[task]})
        targets = [task.target for task in part.tasks.values()]
        self.run = run
        batches = plain_batches(run.config, source, targets, run.world, normalisation=run.model.normalisation)
        self.judge = Judge(part, batches, run.config)
        self._known: dict[tuple[int, ...], Tensor] = {}

    def scores(self, choices: Sequence[tuple[int, ...]]) -> Tensor:
        """Return scores, float64 [M]."""
        new = [one for one in dict.fromkeys(choices) if one not in self._known]
        for one, scores in zip(new, self.judge.scores([self.run.space.decode(one) for one in new]), strict=True):
            self._known[one] = scores[0]
        return torch.stack([self._known[one] for one in choices])


@dataclass(frozen=True)
class Yardstick:
    """How gains are measured: images of A and of B, random architectures, and descents from the best of them."""

    images_a: int = 192
    images_b: int = 192
    num_random: int = 256
    num_starts: int = 8


def measure(run: SupernetRun, folder: Path, by: Yardstick, tasks: Sequence[str]) -> dict[str, Gain]:
    """Print and return the gains of a finished search by task.

    Raises:
        InputError: there are too few validation images, or a topology was not written.
    """
    val = build_val_source(run.config.data, run.source.classes)
    if val is None:
        raise InputError("there are no validation images to score on: give the search data.val")
    random = draw_uniform(run, by.num_random)
    random_cost = run_costs(run, random).mean()
    gains = {}
    for name in tasks:
        labelled = list(val.labelled(run.model.tasks[name].target.name))
        if len(labelled) < by.images_a + by.images_b:
            raise InputError(
                f"'{name}' has {len(labelled)} labelled validation images, A and B take {by.images_a + by.images_b}: "
                "fewer --images or --images-b, or more images (of shapes: data.shapes.num_val_images)"
            )
        parts = (labelled[: by.images_a], labelled[by.images_a : by.images_a + by.images_b])
        on_a, on_b = (Landscape(run, Subset(val, part), name) for part in parts)
        derived = derived_choices(run, folder / f"topology_{name}.yaml")
        best = descend(run, on_a, random, by.num_starts)
        scores = on_b.scores([*random, derived, best])
        scale, mean = scores[: by.num_random].std(), scores[: by.num_random].mean()
        found, possible = (mean - scores[by.num_random :]) / scale + random_cost - run_costs(run, [derived, best])
        print(f"{name}: gain {found:.2f} of {possible:.2f}; derived {_shown(run, derived)}, best {_shown(run, best)}")
        above, better = beside_same_cost(on_b, same_cost(run, derived), float(scores[by.num_random]), float(scale))
        gains[name] = Gain(float(found), float(possible), above, better, by.images_b)
    return gains


def beside_same_cost(
    landscape: Landscape, same: Sequence[tuple[int, ...]], score: float, scale: float
) -> tuple[float, float]:
    """Print and return how far a score is below those of architectures of the same cost, and the share that is worse.

    Both are NaN where there are no such architectures.
    """
    if not same:
        print("  no random one has its cost", flush=True)
        return math.nan, math.nan
    others = landscape.scores(same)
    above, better = float((others.mean() - score) / scale), float((others > score).double().mean())
    print(
        f"  {above:.2f} above the mean of {len(others)} random ones of its cost, better than {100 * better:.0f} % "
        "of them",
        flush=True,
    )
    return above, better


def write_gains(file: Path, name: str, seed: int, gains: Mapping[str, Gain]) -> None:
    """Write the gains of a run into a table, in the place of those that it has of this run's name, seed and tasks."""
    rows: list[dict[str, str]] = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [
                row
                for row in csv.DictReader(lines)
                if (row.get("run"), row.get("seed")) != (name, str(seed)) or row.get("task") not in gains
            ]
    for task, gain in gains.items():
        values = (gain.found, gain.possible, gain.above_same_cost, gain.better_than)
        texts = (name, str(seed), task, *(f"{value:.3f}" for value in values), str(gain.images))
        rows.append(dict(zip(COLUMNS, texts, strict=True)))
    rows.sort(key=lambda row: (row.get("run", ""), int(row.get("seed") or 0), row.get("task", "")))
    entries = ([row.get(column) or "" for column in COLUMNS] for row in rows)
    write_text(file, "".join(csv_lines([COLUMNS, *entries])))


def _shown(run: SupernetRun, choices: tuple[int, ...]) -> str:
    return f"{''.join(map(str, choices))} of cost {relative_costs(run.space, torch.tensor([choices])).item():.3f}"


def run_costs(run: SupernetRun, choices: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the cost terms of architectures."""
    return run.algorithm.cost_term.of(run.space, torch.tensor(choices))


def draw_uniform(run: SupernetRun, count: int) -> list[tuple[int, ...]]:
    """Draw architectures, all equally likely."""
    distribution = ArchitectureDistribution(1, run.space.num_options)
    return [
        tuple(distribution.sample_task(0, generator(run.config.seed, Purpose.ABLATION, number)).tolist())
        for number in range(count)
    ]


def same_cost(run: SupernetRun, choices: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Draw architectures uniformly that cost what ``choices`` does; fewer if there are few."""
    cost = relative_costs(run.space, torch.tensor([choices]))
    drawn = draw_uniform(run, 20000)
    near = (relative_costs(run.space, torch.tensor(drawn)) / cost - 1).abs() <= SAME_COST
    return [one for one, close in zip(drawn, near.tolist(), strict=True) if close][:NUM_SAME_COST]


def descend(run: SupernetRun, landscape: Landscape, random: list[tuple[int, ...]], num_starts: int) -> tuple[int, ...]:
    """Return the best architecture by J that descents from the best random ones come to, one flip a step."""
    scale = landscape.scores(random).std()

    def values(choices: Sequence[tuple[int, ...]]) -> Tensor:
        return landscape.scores(choices) / scale + run_costs(run, choices)

    ends = []
    for start in values(random).argsort()[:num_starts].tolist():
        current, value = random[start], values([random[start]])[0]
        while True:
            near = [(*current[:slot], 1 - current[slot], *current[slot + 1 :]) for slot in range(len(current))]
            found = values(near)
            if found.min() >= value:
                break
            current, value = near[int(found.argmin())], found.min()
        ends.append((value.item(), current))
    return min(ends)[1]


def derived_choices(run: SupernetRun, file: Path) -> tuple[int, ...]:
    """Return what a topology file selects, slot by slot."""
    blocks = Topology.load(file).blocks
    full = run.space.decode((1,) * len(run.space.num_options))
    return tuple(int(block in blocks) for block in sorted(full.blocks))


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished search")
    usual = Yardstick()
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the search's config, such as more images")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--images", type=at_least(1), default=usual.images_a, help="validation images of A")
    parser.add_argument("--images-b", type=at_least(1), help="and of B; as many if not given")
    parser.add_argument("--random", type=at_least(2), default=usual.num_random, help="random architectures")
    parser.add_argument("--starts", type=at_least(1), default=usual.num_starts, help="descents")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a table that the gains are written into")
    given = parser.parse_intermixed_args(arguments)
    config = load_config(given.run / "config.yaml", ["search.compare=score", *given.overrides])
    if unknown := set(given.tasks or ()) - set(config.tasks):
        raise InputError(f"--tasks {min(unknown)}: the search has {', '.join(config.tasks)}")
    by = Yardstick(given.images, given.images_b or given.images, given.random, given.starts)
    with start_world(config.runtime.device, config.runtime.threads, config.runtime.tf32) as world:
        run = build_run(replace(config, resume=True), world, given.run)  # by the milliseconds that it searched with
        weights = given.run / WEIGHTS
        load_by_name(run.model, read_weights(weights), optional=None, origin=weights)
        gains = measure(run, given.run, by, given.tasks or list(run.model.tasks))
    if given.csv is not None:
        write_gains(given.csv, config.name, config.seed, gains)
    print("gain " + " ".join(f"{name} {gain.share:.2f}" for name, gain in gains.items()))


if __name__ == "__main__":
    main()
