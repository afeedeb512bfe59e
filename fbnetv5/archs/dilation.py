"""Strides that become dilations: features stay larger, and every convolution sees what it saw."""

from __future__ import annotations


def dilate(block_stride: int, stride: int, dilation: int, output_stride: int) -> tuple[int, int]:
    """Return a block's stride within an output stride, and the dilation after the block.

    The block itself keeps the dilation from before it, also where it loses its stride, as in timm and in the dilated
    encoders of semantic-segmentation-pytorch.

    Args:
        block_stride: of the block, undilated.
        stride, dilation: of its input.
        output_stride: beyond which strides become dilations.
    """
    if stride * block_stride > output_stride:
        return 1, dilation * block_stride
    return block_stride, dilation
