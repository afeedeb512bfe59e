"""The problem that a search method is given: data and splits, the space and its costs, parameters to start from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Size, Target
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.augmentation import check_augmentation
from fbnetv5.data.sources import build_source
from fbnetv5.heads.head import head_target
from fbnetv5.jobs.train import check_train_sizes
from fbnetv5.model.build import input_spec
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.options import SEARCH_STARTS, RemapOptions, SearchOptions, check_choice
from fbnetv5.projects.fna.remap import Strategy, remap_network, remap_to_super_network
from fbnetv5.projects.fna.search_model import SearchModel, build_head
from fbnetv5.projects.fna.seeds import Seed, load_seed
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.spaces import get_space
from fbnetv5.projects.fna.splits import Splits, split_source
from fbnetv5.projects.fna.super_network import SuperNetwork


@dataclass(frozen=True)
class SearchProblem:
    """The space that is searched, the images, and the parameters to start from.

    Attributes:
        config: of the run.
        options: its keys below ``project``.
        world: the processes.
        space: the architectures.
        target: what the head learns.
        classes: names of the target's classes.
        splits: of the training images.
    """

    config: RunConfig
    options: SearchOptions
    world: World
    space: Space
    target: Target
    classes: tuple[str, ...]
    splits: Splits

    @functools.cached_property
    def seed(self) -> Seed:
        """The pretrained network. Raises InputError where it cannot be read."""
        return load_seed(self.options.seed, self.options.seed_weights)

    @property
    def normalisation(self) -> Normalisation:
        """What images are normalised with: the seed's, where parameters start from it."""
        return self.seed.normalisation if self.options.start == "seed" else IMAGENET

    @property
    def output_stride(self) -> int:
        """Beyond which strides are dilations."""
        return self.options.output_stride or self.space.output_stride

    @property
    def size(self) -> Size:
        """(height, width) in pixels of the image that costs are stated for."""
        return input_spec(self.config.data, self.target.kind).cost_size(self.target.kind)

    @functools.cached_property
    def costs(self) -> tuple[tuple[int, ...], ...]:
        """MACs of the candidates of each slot."""
        return self.space.candidate_macs(self.size, self.output_stride)

    @functools.cached_property
    def fixed_cost(self) -> int:
        """MACs of the layers that are not searched, without the head."""
        return self.space.fixed_macs(self.size, self.output_stride)

    def macs(self, choices: Sequence[int]) -> int:
        """MACs of the network of one candidate a slot, without the head."""
        return self.fixed_cost + sum(row[choice] for row, choice in zip(self.costs, choices, strict=True))

    def build_model(self) -> SearchModel:
        """Build the super network with its head and its first parameters: the seed's, remapped, or random ones.

        Raises:
            InputError: space, seed and head do not fit together.
        """
        with forked(self.config.seed, Purpose.INITIALISATION):
            network = SuperNetwork(self.space, self.output_stride)
            head = build_head(self.config.model.head, network.channels, len(self.classes))
            model = SearchModel(network, head, self.normalisation)
        if self.options.start == "seed":
            remapped = remap_to_super_network(
                self.seed.weights, self.seed.architecture, self.space, strategy(self.options.remap)
            )
            network.load_state_dict(remapped)
        return model

    def first_weights(self, architecture: Architecture) -> dict[str, Tensor] | None:
        """Return what a network of the space starts from, by its names, or None where that is random."""
        if self.options.start == "random":
            return None
        return remap_network(self.seed.weights, self.seed.architecture, architecture, strategy(self.options.remap))


def build_problem(config: RunConfig, world: World) -> SearchProblem:
    """Read ``project``, open and split the training images; all ranks build the same.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its head.
    """
    options = read_project(config.project, SearchOptions)
    check_choice("project.start", options.start, SEARCH_STARTS)
    strategy(options.remap)
    check_search(config, world)
    target = head_target(config.model.head)
    check_augmentation(config.data, [target])
    source = build_source(config.data)
    if source.num_labelled(target.name) == 0:
        raise InputError(f"no image of the training split is labelled with '{target.name}'; give its labels")
    problem = SearchProblem(
        config=config,
        options=options,
        world=world,
        space=get_space(options.space),
        target=target,
        classes=tuple(source.classes.get(target.name, ())),
        splits=split_source(source, target.name, options.architecture_share, config.seed),
    )
    if options.start == "seed":
        check_widths(problem.space, problem.seed)
    return problem


def check_widths(space: Space, seed: Seed) -> None:
    """Raise InputError where stages of the space are wider than the seed's: what remapping adds there never learns."""
    theirs, ours = seed.architecture, space.largest
    widths = [("stem", theirs.stem.channels, ours.stem.channels)]
    for number, (old, new) in enumerate(zip(theirs.stages, ours.stages, strict=False)):
        if old and new:
            widths.append((f"stage {number}", old[-1].channels, new[-1].channels))
    for name, old_width, new_width in widths:
        if new_width > old_width:
            raise InputError(
                f"the {name} of project.space={space.name} has {new_width} channels, that of the seed {seed.origin} "
                f"{old_width}: the space is made for {space.seed}; choose one that is no wider than the seed"
            )


def check_search(config: RunConfig, world: World) -> None:
    """Raise InputError for keys of a training that do not fit together, or that a search does not have."""
    check_train_sizes(config, world, None)
    if not config.model.head:
        raise InputError("model.head has no _target_: give the head of the framework that is searched for")
    train = config.train
    for key, value in (
        ("train.ema", train.ema),
        ("train.teacher.model", train.teacher.model),
        ("train.sync_bn", train.sync_bn or None),
        ("train.eval_every", train.eval_every),
    ):
        if value is not None:
            raise InputError(f"{key}={value} is for the training of a final model; a search has none: remove it")
    for key in ("network", "topology", "weights"):
        if getattr(config.model, key):
            raise InputError(f"model.{key} is for a final model; project.space and project.seed say what is searched")


def strategy(options: RemapOptions) -> Strategy:
    """Return the remapping that the keys describe. Raises InputError for a value that there is not."""
    check_choice("project.remap.width", options.width, ("first", "bn", "std", "l1", "net2wider"))
    check_choice("project.remap.kernel", options.kernel, ("centre", "dilate"))
    check_choice("project.remap.depth", options.depth, ("last", "net2deeper"))
    return Strategy(
        width=options.width,  # type: ignore[arg-type]  # checked above
        kernel=options.kernel,  # type: ignore[arg-type]
        depth=options.depth,  # type: ignore[arg-type]
        noise=options.noise,
        seed=options.seed,
    )
