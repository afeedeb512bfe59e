"""DETR's decoder layer against torch's own, and the sine encoding against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fbnetv5.heads.lite_maskformer.transformer import Attention, DecoderLayer, sine_positions

C, HEADS, HIDDEN = 32, 4, 48


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for linear, weight, bias in zip(
            (ours.query, ours.key, ours.value),
            theirs.in_proj_weight.chunk(3),
            theirs.in_proj_bias.chunk(3),
            strict=True,
        ):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def layers() -> tuple[DecoderLayer, nn.TransformerDecoderLayer]:
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(C, HEADS, HIDDEN, dropout=0.1, batch_first=True)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)  # biases and norms too, which start at 0 and 1
    ours = DecoderLayer(C, HEADS, HIDDEN, 0.1)
    copy_attention(ours.self_attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    ours.expand.load_state_dict(theirs.linear1.state_dict())
    ours.contract.load_state_dict(theirs.linear2.state_dict())
    for norm, other in zip(ours.norms, (theirs.norm1, theirs.norm2, theirs.norm3), strict=True):
        norm.load_state_dict(other.state_dict())
    return ours.eval(), theirs.eval()


def test_layer_without_positions_is_torchs():
    ours, theirs = layers()
    queries, tokens = torch.randn(2, 5, C), torch.randn(2, 7, C)
    output = ours(queries, torch.zeros(5, C), tokens, torch.zeros(7, C))
    torch.testing.assert_close(output, theirs(queries, tokens), atol=1e-5, rtol=1e-5)


def test_layer_adds_positions_to_queries_and_keys_but_not_to_values():
    """DETR's layer, written out with torch's parts."""
    ours, theirs = layers()
    queries, tokens = torch.randn(2, 5, C), torch.randn(2, 7, C)
    query_positions, positions = torch.randn(5, C), torch.randn(7, C)
    placed = queries + query_positions
    x = theirs.norm1(queries + theirs.self_attn(placed, placed, queries)[0])
    x = theirs.norm2(x + theirs.multihead_attn(x + query_positions, tokens + positions, tokens)[0])
    x = theirs.norm3(x + theirs.linear2(theirs.linear1(x).relu()))
    torch.testing.assert_close(ours(queries, query_positions, tokens, positions), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (3, 4)])
def test_sine_positions_against_their_definition(row, column):
    height, width, channels = 4, 5, 8
    encoding = sine_positions(height, width, channels)[row * width + column]
    expected = []
    for coordinate in ((row + 1) / height, (column + 1) / width):
        for frequency in (1, 10000**-0.5):
            angle = 2 * math.pi * coordinate * frequency
            expected += [math.sin(angle), math.cos(angle)]
    torch.testing.assert_close(encoding, torch.tensor(expected), atol=1e-5, rtol=1e-5)
