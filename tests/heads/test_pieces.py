"""Losses over pixels in pieces: the value and the gradient of the whole, in the memory of a piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdRef

from fbnetv5.base.seeding import forked
from fbnetv5.heads import pieces
from fbnetv5.heads.lite_maskformer.losses import MaskLossWeights, mask_losses
from fbnetv5.tasks.segmentation import Segmentation

COUNT, CLASSES, SIDE = 6, 10, 64
MASKS = 4  # in each image
MAPS = {"search head": COUNT * CLASSES * SIDE**2, "MaskFormer": COUNT * MASKS * SIDE**2}  # numbers at full size


class Peak(TorchDispatchMode):
    """The most bytes of tensors made within it that were there at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._made: list[WeakIdRef] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self._made += [WeakIdRef(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self._made = [ref for ref in self._made if ref() is not None]
        storages = [ref().untyped_storage() for ref in self._made]
        self.bytes = max(self.bytes, sum({one.data_ptr(): one.nbytes() for one in storages}.values()))
        return out


def loss_of(name: str) -> tuple[Tensor, Tensor]:
    """A loss of segmentation, and what it depends on."""
    with forked(0):
        masks = torch.randint(MASKS, (COUNT, SIDE, SIDE)).to(torch.uint8)
        masks[:, :9] = 255
        if name == "search head":
            feature = torch.randn(COUNT, 4, 4, 4, requires_grad=True)
            head = Segmentation(path=2).search_head((4, 4, 4, 4), tuple(map(str, range(CLASSES))))
            loss = head({2: feature}, (SIDE, SIDE), [{"segmentation": mask} for mask in masks])
            return loss, feature
        maps = torch.randn(COUNT, 8, 8, 8, requires_grad=True)
        losses = mask_losses(torch.randn(COUNT, 8, CLASSES + 1), maps, masks, MaskLossWeights())
        return losses["loss_focal"] + losses["loss_dice"], maps


@pytest.mark.parametrize("name", MAPS)
def test_pieces_have_the_value_and_the_gradient_of_the_whole(monkeypatch, name):
    results = []
    for rows in (1, 4, 100):
        monkeypatch.setattr(pieces, "PIECE_BYTES", rows * MAPS[name] // COUNT * 4)
        loss, leaf = loss_of(name)
        (first,) = torch.autograd.grad(3 * loss, leaf, retain_graph=True)
        (again,) = torch.autograd.grad(3 * loss, leaf)
        assert torch.equal(first, again)
        results.append((loss.detach(), first))
    for result in results[:2]:
        torch.testing.assert_close(result, results[2], rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        assert loss_of(name)[0] == pytest.approx(results[2][0].item(), rel=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_of_all_images_are_never_there_at_once(monkeypatch, name):
    peaks = []
    for piece in (MAPS[name] // COUNT * 4, 2**27):
        monkeypatch.setattr(pieces, "PIECE_BYTES", piece)
        with Peak() as peak:
            loss, leaf = loss_of(name)
            torch.autograd.grad(loss, leaf)
        peaks.append(peak.bytes / (4 * MAPS[name]))
    in_pieces, whole = peaks
    assert 3 < whole > 2.5 * in_pieces, peaks
