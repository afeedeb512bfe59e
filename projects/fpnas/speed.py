"""How fast trainings of a search are: images a second and core, beside the same network in a bare loop.

    python -m projects.fpnas.speed projects/fpnas/configs/cifar10_small.yaml

The bare loop has one batch that lies ready, forward, backward and a step of the optimiser, and nothing else. The two
are timed in turns, on one thread, with random images; the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import one_line_errors
from fbnetv5.base.seeding import Purpose, forked, generator
from fbnetv5.base.types import LABEL
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.config.read import load_config, read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.geometry import normalised
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.model.task_net import TaskNet
from fbnetv5.projects.fpnas.fit import fit, to_input
from fbnetv5.projects.fpnas.images import ImageSet, augment, check_data, num_batches
from fbnetv5.projects.fpnas.options import SearchConfig
from fbnetv5.projects.fpnas.work import build_problem, move_model

CLASSES = tuple(map(str, range(10)))


def speeds(config: RunConfig, num_images: int, rounds: int) -> tuple[float, float]:
    """Return images a second of a search's training and of the bare loop.

    Args:
        config: of a search.
        num_images: of a round.
        rounds: of each.
    """
    with start_world("cpu", 1, config.runtime.tf32) as world:
        model, images = _model(config), _images(config, num_images)
        move_model(model, config, world.device)
        ways: tuple[Callable[[], None], ...] = (
            lambda: _train(model, images, config, world.device),
            lambda: _bare(model, images, config, world.device),
        )
        best = [float("inf")] * len(ways)
        for _ in range(rounds):
            for number, way in enumerate(ways):
                begin = time.perf_counter()
                way()
                best[number] = min(best[number], time.perf_counter() - begin)
    return num_images / best[0], num_images / best[1]


def _model(config: RunConfig) -> TaskNet:
    """Return a random network below the bound."""
    problem, project = build_problem(config, CLASSES), read_project(config.project, SearchConfig)
    space = problem.space(project.bound)
    with forked(config.seed, Purpose.INITIALISATION):
        return problem.model(space.draw(generator(config.seed, Purpose.ARCHITECTURES)))


def _images(config: RunConfig, count: int) -> ImageSet:
    draws, side = generator(config.seed, Purpose.SPLIT), config.data.short_side
    pixels = torch.randint(256, (count, 3, side, side), generator=draws, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(len(CLASSES), (count,), generator=draws))


def _train(model: TaskNet, images: ImageSet, config: RunConfig, device: torch.device) -> None:
    fit(model, lambda _: model, images, config, epochs=1, final_lr=0.0, key=(0,), device=device)


def _bare(model: TaskNet, images: ImageSet, config: RunConfig, device: torch.device) -> None:
    size = config.search.batch_size
    draws = generator(config.seed, Purpose.SPLIT)
    pixels = to_input(
        normalised(augment(images.pixels[:size], check_data(config.data), flip=False, draws=draws)), config, device
    )
    targets = [{LABEL.name: label} for label in images.labels[:size].tolist()]
    optimizer = build_optimizer(model, config.optimizer)
    model.train()
    for _ in range(num_batches(len(images), size)):
        losses = model(pixels, targets)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()


@one_line_errors("nothing was written")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; prints both speeds, and last their ratio."""
    options = _parser().parse_intermixed_args(arguments)
    ours, bare = speeds(load_config(options.config, options.overrides), options.images, options.rounds)
    print(f"images a second and core: {ours:.0f} of a search's training, {bare:.0f} of a bare loop")
    print(f"ratio {ours / bare:.3f}")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.fpnas.speed")
    parser.add_argument("config", type=Path, help="config of a search")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as on the command line of train_net.py")
    parser.add_argument("--images", type=at_least(2), default=4096, help="of a round (default 4096)")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="of each of the two (default 5)")
    return parser


if __name__ == "__main__":
    main()
