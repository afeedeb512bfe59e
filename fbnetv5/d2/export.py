"""Export of Lite R-CNN by D2Go: batch normalisation folded into the convolutions, and int8 where it is asked for.

D2Go folds and quantises modules that it knows by type or by name; timm's blocks are neither.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fbnetv5.d2 import not_installed

try:
    from d2go.modeling.meta_arch.rcnn import (
        RCNN_PREPARE_FOR_EXPORT_REGISTRY,
        GeneralizedRCNN,
        default_rcnn_prepare_for_export,
    )
    from d2go.quantization.qconfig import set_backend_and_create_qconfig
    from d2go.registry.builtin import META_ARCH_REGISTRY
except ImportError as error:
    raise not_installed(error) from error
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx


def folded(model: nn.Module) -> nn.Module:
    """Return a copy of a model in evaluation mode, with every batch normalisation of timm's blocks folded into the
    convolution before it; the activation stays in its place.
    """
    model = copy.deepcopy(model).eval()
    for block in list(model.modules()):
        conv = None
        for name, child in list(block.named_children()):
            if isinstance(child, nn.Conv2d):
                conv = name
            elif isinstance(child, BatchNormAct2d) and conv is not None:
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), child))
                setattr(block, name, child.act)
                conv = None
    return model


@RCNN_PREPARE_FOR_EXPORT_REGISTRY.register()
def fbnetv5_prepare_for_export(model: nn.Module, cfg: Any, inputs: Any, predictor_type: str) -> Any:
    """Prepare a detector as D2Go does by default, with batch normalisation folded; see ``RCNN_PREPARE_FOR_EXPORT``."""
    return default_rcnn_prepare_for_export(folded(model), cfg, inputs, predictor_type)


@META_ARCH_REGISTRY.register()
class FBNetV5QuantizableRCNN(GeneralizedRCNN):
    """D2Go's GeneralizedRCNN with Lite R-CNN's layers in int8 after training (``QUANTIZATION.EAGER_MODE: false``).

    Each trunk partition, block and head is quantised for itself; fusion between paths, RoIAlign and the decoding of
    boxes stay in float32.
    """

    def custom_prepare_fx(
        self, cfg: Any, is_qat: bool, example_input: Any = None
    ) -> tuple[nn.Module, Callable[..., Any]]:
        """Return a model that observes its activations, and the function that turns it into int8 after that.

        Raises:
            NotImplementedError: training with simulated quantisation is asked for.
        """
        if is_qat:
            raise NotImplementedError("fbnetv5.d2 quantises after training; set QUANTIZATION.QAT.ENABLED to false")
        qconfig = {"": set_backend_and_create_qconfig(cfg, is_train=False)}
        model = folded(self)

        def observed(part: nn.Module) -> nn.Module:
            return prepare_fx(part, qconfig, (torch.zeros(1, 3, 32, 32),))

        return _each_part(model, observed), lambda calibrated: _each_part(calibrated, _in_int8)


def _in_int8(part: nn.Module) -> nn.Module:
    quantised: nn.Module = convert_fx(part)  # type: ignore[arg-type]
    return quantised


def _each_part(model: Any, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Put ``change`` of it in the place of every part that is quantised."""
    network, rpn, roi = model.backbone.network, model.proposal_generator.rpn_head, model.roi_heads
    parents = [
        (network.trunk, list(network.trunk._modules)),
        (network.blocks, list(network.blocks._modules)),
        (rpn, ["layers", "predict"]),
        (roi.box_head, ["layers"]),
        (roi.box_predictor, ["cls_score", "bbox_pred"]),
    ]
    for parent, names in parents:
        for name in names:
            setattr(parent, name, change(getattr(parent, name)))
    return model
