"""The base of our final models as meta-architectures: images in, the network of ``MODEL.FBNETV5``, the core's head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn import functional as F

import fbnetv5.d2
from fbnetv5.archs.families import STRIDES
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features
from fbnetv5.config.schema import ModelConfig
from fbnetv5.d2.export import folded
from fbnetv5.data.inputs import InputSpec
from fbnetv5.heads.head import Head
from fbnetv5.model.build import find_topology
from fbnetv5.model.task_net import ModelSpec, build_model

try:
    from d2go.export.api import PredictorExportConfig
    from d2go.quantization.qconfig import set_backend_and_create_qconfig
    from mobile_cv.predictor.api import FuncInfo
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


class TaskModel(nn.Module):
    """A network and a head under the names that they have in our own models, with Detectron2's inputs and outputs.

    Args:
        cfg: a config with ``MODEL.FBNETV5``.
        head: dotted path of the core's head; its options stand under ``MODEL.FBNETV5.HEAD``.
        num_classes: of the head.

    Raises:
        InputError: family, topology and head do not fit together, or an option is wrong.
    """

    head: Head
    pixel_mean: Tensor
    pixel_std: Tensor
    multiple = STRIDES[-1]  # height and width of a batch are multiples of this many pixels

    def __init__(self, cfg: Any, head: str, num_classes: int) -> None:
        super().__init__()
        node = cfg.MODEL.FBNETV5
        if not node.TOPOLOGY:
            raise InputError(
                "MODEL.FBNETV5.TOPOLOGY is missing: a file that a search wrote, or one of configs/topologies"
            )
        spec = ModelSpec(
            family=node.FAMILY,
            topology=find_topology(ModelConfig(topology=node.TOPOLOGY)),
            head={"_target_": head, **node.HEAD},
            classes=tuple(map(str, range(num_classes))),
            input=InputSpec(cfg.INPUT.MIN_SIZE_TEST or 1, multiple=self.multiple),
        )
        model = build_model(spec, topology_name=node.TOPOLOGY)
        self.network = model.network
        self.head = model.head
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.MODEL.PIXEL_STD).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    def batch(self, inputs: Sequence[dict[str, Any]]) -> Tensor:
        """Stack the images of Detectron2's inputs, padded at the right and below with the mean colour, [N, 3, H, W]."""
        return padded([entry["image"].to(self.device) for entry in inputs], self.pixel_mean, self.multiple)

    def features(self, images: Tensor) -> Features:
        """Return what the head reads, for images [N, 3, H, W] with values from 0 to 255.

        Under autocast the network runs in mixed precision; the features are of the images' again.
        """
        normalised = (images - self.pixel_mean) / self.pixel_std
        return {path: feature.to(normalised.dtype) for path, feature in self.network(normalised).items()}

    def custom_prepare_fx(self, cfg: Any, is_qat: bool, example_input: Any = None) -> tuple[nn.Module, Any]:
        """Return a copy that observes its activations, and the function that turns that into int8 afterwards.

        D2Go asks for it with ``QUANTIZATION.EAGER_MODE: false``. Each trunk partition and block is quantised for
        itself; fusion between paths and the head stay in float32.

        Raises:
            InputError: training with simulated quantisation is asked for.
        """
        if is_qat:
            raise InputError("fbnetv5.d2 quantises after training; set QUANTIZATION.QAT.ENABLED to false")
        qconfig = QConfigMapping().set_global(set_backend_and_create_qconfig(cfg, is_train=False))
        model = folded(self)
        _change_blocks(model, lambda block: prepare_fx(block, qconfig, (torch.zeros(1, 3, 32, 32),)))
        return model, lambda observed: _change_blocks(observed, convert_fx)


class PadToMean:
    """Detectron2's inputs to one tensor, for an exported model; it is rebuilt from its arguments.

    Args:
        mean: the colour to pad with, in the images' order of channels.
        multiple: height and width become multiples of this many pixels.
        device: where the tensor shall be.
    """

    def __init__(self, mean: list[float], multiple: int, device: str) -> None:
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.multiple = multiple
        self.device = device

    def __call__(self, inputs: Sequence[dict[str, Any]]) -> Tensor:
        """Stack ``image`` of each input, [3, h, w], to [N, 3, H, W]."""
        return padded([entry["image"] for entry in inputs], self.mean, self.multiple).to(self.device)


def padded(images: Sequence[Tensor], mean: Tensor, multiple: int) -> Tensor:
    """Stack images [3, h, w] to float [N, 3, H, W], padded at the right and below with ``mean`` [3, 1, 1]."""
    height, width = (
        -(-max(sides) // multiple) * multiple for sides in zip(*(i.shape[-2:] for i in images), strict=True)
    )
    centred = (image.to(mean.dtype) - mean for image in images)
    return torch.stack([F.pad(i, (0, width - i.shape[-1], 0, height - i.shape[-2])) for i in centred]) + mean


def _change_blocks(model: Any, change: Any) -> Any:
    """Put ``change`` of it in the place of each trunk partition and block; return the model."""
    for parent in (model.network.trunk, model.network.blocks):
        for name, block in list(parent.named_children()):
            setattr(parent, name, change(block))
    return model


def export_config(model: TaskModel, exported: nn.Module, postprocess: type) -> Any:
    """Return what D2Go's exporter needs: ``exported`` maps the tensor that ``PadToMean`` makes to a tensor.

    Args:
        model: in whose name this is done.
        exported: the part that is traced.
        postprocess: a class without arguments, from inputs and tensors to Detectron2's outputs.
    """
    params = {"mean": model.pixel_mean.flatten().tolist(), "multiple": model.multiple, "device": str(model.device)}
    before = FuncInfo.gen_func_info(PadToMean, params=params)
    prepare = before.instantiate()
    return PredictorExportConfig(
        model=exported,
        data_generator=lambda inputs: (prepare(inputs),),
        preprocess_info=before,
        postprocess_info=FuncInfo.gen_func_info(postprocess, params={}),
    )
