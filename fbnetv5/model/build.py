"""The final model that a configuration describes: a network, a head, and how images become its input."""

from __future__ import annotations

from dataclasses import replace

from fbnetv5.archs.families import STRIDES
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import NAMED_BLOCKS, Topology, named_topology
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.origin import Origin
from fbnetv5.base.paths import local_path
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Source, Target, TargetKind
from fbnetv5.base.weights import read_normalisation, read_origin, weights_file
from fbnetv5.config.read import CONFIGS
from fbnetv5.config.schema import DataConfig, ModelConfig
from fbnetv5.data.augmentation import check_augmentation
from fbnetv5.data.index_checks import require_several
from fbnetv5.data.inputs import InputSpec
from fbnetv5.heads.head import head_target
from fbnetv5.model.start import STARTS, start_from_trunk
from fbnetv5.model.task_net import Fresh, ModelSpec, TaskNet, build_model, load_initial


def build_final_model(
    config: ModelConfig, data: DataConfig, source: Source, *, seed: int = 0, is_main: bool = True
) -> TaskNet:
    """Build the model of ``model.topology`` or ``model.network``, and ``model.head``, with its first weights.

    Args:
        config: the network, the head, and the weights that they start from.
        data: how images become the network's input.
        source: the training split, whose classes are the model's.
        seed: of the first weights.
        is_main: whether to say which weights start afresh.

    Raises:
        InputError: network, head, data and weights do not fit together; the message says which.
    """
    _check_network(config)
    if not config.head:
        raise InputError("model.head has no _target_: give the head to train, such as fbnetv5.heads.lite_rcnn.LiteRCNN")
    target = head_target(config.head)
    check_augmentation(data, [target])
    check_labelled(target, source, "the head")
    spec = ModelSpec(
        family=None if config.network else config.family,
        topology=None if config.network else find_topology(config),
        head=dict(config.head),
        classes=tuple(source.classes.get(target.name, ())),
        input=input_spec(data, target.kind),
        network=dict(config.network) or None,
    )
    with forked(seed, Purpose.INITIALISATION):
        model = build_model(spec, topology_name=config.topology or "")
    normalisation = None
    if isinstance(model.network, MultiPathNet):
        found = start_from_trunk(model.network, config, is_main=is_main)
        if found is not None:
            normalisation, model.origin = found.normalisation, Origin.of(found.origin, found.license)
    if config.weights is not None:
        weights = weights_file(config.weights)
        normalisation = read_normalisation(weights)
        model.origin = read_origin(weights) or Origin.of(config.weights)
        fresh = load_initial(model, weights, config.block_start)  # type: ignore[arg-type]  # checked with the config
        if is_main:
            _tell_fresh(fresh, config)
    if normalisation is not None:
        model.spec = replace(model.spec, input=model.spec.input.normalised_with(normalisation))
    return model


def _tell_fresh(fresh: Fresh, config: ModelConfig) -> None:
    """Say what of a model ``model.weights`` has nothing for."""
    if fresh.blocks:
        start = STARTS[config.block_start]
        blocks = ", ".join(fresh.blocks)
        print(f"the trunk starts from {config.weights}, which lacks the blocks {blocks}: these {start}", flush=True)
    if fresh.head:
        print(f"{config.weights}: no weights for {len(fresh.head)} tensors of the head; they start afresh", flush=True)


def check_labelled(target: Target, source: Source, head: str) -> None:
    """Raise InputError where no image is labelled for ``head``, as messages call it, or all with one class."""
    if source.num_labelled(target.name) == 0:
        raise InputError(
            f"{head} learns from '{target.name}', and no image of the training split is labelled with it; give its "
            "labels under data.train"
        )
    require_several(target, source.classes.get(target.name, ()))


def _check_network(model: ModelConfig) -> None:
    """Raise InputError where beside ``model.network`` there is what belongs to a family's network."""
    for key in ("topology", "trunk_weights"):
        value = getattr(model, key)
        if model.network and value is not None:
            raise InputError(
                f"model.{key}={value} is for a family's network, and model.network chooses another; leave out one of "
                f"the two, as with model.{key}=null"
            )


def find_topology(model: ModelConfig) -> Topology:
    """Return the topology that ``model.topology`` names: hand-made, or a file, also one of the project's own.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if model.topology is None:
        raise InputError(
            "model.topology is missing: a file that a search wrote, or configs/topologies/det.yaml; or give "
            "model.network, the network of a project"
        )
    return read_topology(model.topology, model.num_stages)


def read_topology(name: str, num_stages: int, task: str | None = None) -> Topology:
    """Return a topology by its name: hand-made, of ``num_stages``, or a file, also one of the project's own.

    A file may have the topologies of several tasks, of which that of ``task`` is taken.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if name in NAMED_BLOCKS:
        return named_topology(name, num_stages)
    own, file = CONFIGS.parent / name, local_path(name)
    if not (own.exists() or file.exists()):
        raise InputError(
            f"there is no topology {name}{nearest(name, NAMED_BLOCKS)}: a search writes such files when it ends "
            f"(fbnetv5 search); hand-made ones are {', '.join(NAMED_BLOCKS)}"
        )
    return Topology.load(own if own.is_file() and not file.is_file() else file, task)


def input_spec(data: DataConfig, kind: TargetKind) -> InputSpec:
    """Return how a trained model sees images: the central crop for a class of the image, else the whole, padded.

    Raises:
        InputError: a crop for a class is no square, or larger than images are.
    """
    if kind is TargetKind.SCALAR and data.crop is not None:
        if data.crop_width not in (None, data.crop):
            raise InputError(
                f"data.crop_width={data.crop_width}: a class is predicted of a square, the middle of the image; leave "
                "it out"
            )
        if data.crop > data.short_side:
            raise InputError(
                f"data.crop={data.crop} is larger than data.short_side={data.short_side}: images to predict would be "
                "padded. Raise data.short_side or lower data.crop"
            )
        return InputSpec(short_side=data.short_side, long_side=data.long_side, crop=data.crop)
    return whole_input(data)


def whole_input(data: DataConfig) -> InputSpec:
    """Return how a trained model sees whole images, padded."""
    is_whole = data.crop_place == "center"  # else it is a piece of a larger picture
    if is_whole and data.crop is not None and data.crop_width is not None and data.long_side is None:
        long_side = max(data.short_side, data.crop, data.crop_width)  # the whole picture has the shape of the crop
        return InputSpec(short_side=data.short_side, long_side=long_side, multiple=STRIDES[-1])
    return InputSpec(short_side=data.short_side, long_side=data.long_side, multiple=STRIDES[-1])
