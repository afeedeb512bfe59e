"""Remapping of single blocks: what is kept, what is dropped, and what is new."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.block_spec import BlockSpec
from fbnetv5.projects.fna.blocks import build_block
from fbnetv5.projects.fna.remap_blocks import Shaped, Strategy, identity_block, remap_block
from fbnetv5.projects.fna.tests.networks import randomise

SIZE = (9, 7)


def build(spec: BlockSpec, in_channels: int, weights: dict[str, Tensor] | None = None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = build_block(spec, in_channels, activation="relu6", bn_epsilon=1e-5)
    randomise(block)
    if weights is not None:
        block.load_state_dict(weights)
    return block


def remapped(
    source: BlockSpec, target: BlockSpec, *, in_channels: int = 8, target_in: int = 8, strategy: Strategy | None = None
) -> tuple[nn.Module, nn.Module]:
    """Return a block and the one that is remapped from it."""
    block = build(source, in_channels)
    state = remap_block(
        block.state_dict(),
        Shaped(source, in_channels, "theirs"),
        Shaped(target, target_in, "ours"),
        strategy or Strategy(),
        torch.Generator().manual_seed(0),
    )
    return block, build(target, target_in, state)


def features(channels: int = 8) -> Tensor:
    # a ResNet's and a mobile block's input may be negative here, which is harder than what they see
    return torch.randn(2, channels, *SIZE, generator=torch.Generator().manual_seed(2))


SOURCES = {
    "mbconv": BlockSpec("mbconv", 8, 3, 3),
    "mbconv, stride 2": BlockSpec("mbconv", 12, 3, 3, stride=2),
    "basic": BlockSpec("basic", 8),
    "basic, projection": BlockSpec("basic", 16, stride=2),
    "bottleneck": BlockSpec("bottleneck", 8),
    "bottleneck, projection": BlockSpec("bottleneck", 16, stride=2),
    "separable": BlockSpec("separable", 8),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("strategy", [Strategy(), Strategy(width="net2wider"), Strategy(noise=0.3)])
def test_expansion_keeps_the_function(source: BlockSpec, kernel: int, strategy: Strategy):
    expansion = source.ratio if source.kind == "separable" else 2 * source.ratio
    target = dataclasses.replace(source, kernel=kernel, expansion=expansion)
    block, wider = remapped(source, target, strategy=strategy)
    with torch.no_grad():
        torch.testing.assert_close(wider(features()), block(features()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_wider_outputs_and_inputs_keep_the_function_and_add_zeros(source: BlockSpec):
    target = dataclasses.replace(source, channels=source.channels + 8)
    if source.kind == "bottleneck":  # its inner width is a share of the output's; here it stays
        target = dataclasses.replace(target, expansion=source.inner_channels(8) / target.channels)
    block, wider = remapped(source, target, target_in=16)
    x = features()
    with torch.no_grad():
        ours = wider(torch.cat([x, torch.zeros_like(x)], dim=1))
        torch.testing.assert_close(ours[:, : source.channels], block(x), rtol=1e-5, atol=1e-5)
        assert torch.equal(ours[:, source.channels :], torch.zeros_like(ours[:, source.channels :]))


def test_added_channels_leak_nothing_whatever_the_seeds_bn_holds():
    source = BlockSpec("mbconv", 8, 3, 3)
    block, wider = remapped(source, dataclasses.replace(source, expansion=6))
    inside: list[Tensor] = []
    wider.bn2.register_forward_hook(lambda _module, _inputs, output: inside.append(output))
    for training in (False, True):  # with the batch's statistics as well as with the running ones
        block.train(training), wider.train(training)
        with torch.no_grad():
            torch.testing.assert_close(wider(features()), block(features()), rtol=1e-5, atol=1e-5)
        assert inside.pop()[:, 24:].count_nonzero() == 0


def test_noise_lets_added_channels_learn_and_zeros_do_not():
    source = BlockSpec("mbconv", 8, 3, 3)
    for noise in (0.0, 0.1):
        _, wider = remapped(source, dataclasses.replace(source, expansion=6), strategy=Strategy(noise=noise))
        wider.train()(features()).square().sum().backward()
        assert bool(wider.conv_pwl.weight.grad[:, 24:].count_nonzero()) is (noise > 0)


def test_shrinking_keeps_the_first_channels_and_the_middle_of_kernels():
    source = BlockSpec("mbconv", 8, 7, 6)
    block, narrow = remapped(source, BlockSpec("mbconv", 8, 3, 3))
    theirs, ours = block.state_dict(), narrow.state_dict()
    assert torch.equal(ours["conv_pw.weight"], theirs["conv_pw.weight"][:24])
    assert torch.equal(ours["conv_dw.weight"], theirs["conv_dw.weight"][:24, :, 2:5, 2:5])
    assert torch.equal(ours["conv_pwl.weight"], theirs["conv_pwl.weight"][:, :24])
    for bn, number in (("bn1", 24), ("bn2", 24), ("bn3", 8)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(ours[f"{bn}.{name}"], theirs[f"{bn}.{name}"][:number])
        assert ours[f"{bn}.num_batches_tracked"] == 7


@pytest.mark.parametrize(
    ("kind", "conv", "channels"), [("basic", "conv1", 8), ("bottleneck", "conv2", 32)], ids=["basic", "bottleneck"]
)
def test_groups_replace_the_searched_convolution_alone(kind: str, conv: str, channels: int):
    source = BlockSpec(kind, channels)
    target = dataclasses.replace(source, kernel=5, groups=2)
    block, grouped = remapped(source, target, in_channels=channels, target_in=channels)
    theirs, ours = block.state_dict(), grouped.state_dict()
    weight, theirs_weight = ours[f"{conv}.weight"], theirs[f"{conv}.weight"]
    assert weight.shape == (8, 4, 5, 5)
    assert torch.equal(weight[:4, :, 1:4, 1:4], theirs_weight[:4, :4])  # eq. 4, then eq. 6
    assert torch.equal(weight[4:, :, 1:4, 1:4], theirs_weight[4:, 4:])
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name != f"{conv}.weight")


def test_importance_chooses_inner_channels_together():  # Sec. 5.4
    source, target = BlockSpec("mbconv", 8, 3, 2), BlockSpec("mbconv", 8, 3, 1)
    block = build(source, 8)
    state = block.state_dict()
    # by the scale's magnitude channels 8 to 15 are the largest, by deviation the odd ones, by the L1 norm the even ones
    state["bn1.weight"] = torch.cat([torch.full((8,), 0.1), torch.full((8,), -2.0)])
    odd = torch.arange(16) % 2 == 1
    ramp = torch.linspace(-0.1, 0.1, 8)
    state["conv_pw.weight"] = torch.where(odd[:, None], ramp[None], torch.ones(1, 8))[:, :, None, None]
    expected = {"bn": list(range(8, 16)), "std": list(range(1, 16, 2)), "l1": list(range(0, 16, 2))}
    for width, kept in expected.items():
        rng = torch.Generator()
        strategy = Strategy(width=width)  # type: ignore[arg-type]
        ours = remap_block(state, Shaped(source, 8, "theirs"), Shaped(target, 8, "ours"), strategy, rng)
        for name in ("conv_pw.weight", "conv_dw.weight", "bn1.weight", "bn2.running_var"):
            assert torch.equal(ours[name], state[name][kept]), (width, name)
        assert torch.equal(ours["conv_pwl.weight"], state["conv_pwl.weight"][:, kept])


@pytest.mark.parametrize("kind", ["mbconv", "basic", "bottleneck"])
@pytest.mark.parametrize("training", [False, True])
def test_a_deeper_block_of_net2net_computes_the_identity(kind: str, training: bool):
    spec = BlockSpec(kind, 8, 5)
    state = identity_block(Shaped(spec, 8, "ours"), torch.Generator().manual_seed(0))
    block = build(spec, 8, state).train(training)
    x = features().relu()  # what a ResNet's block sees
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    last = {"mbconv": "bn3", "basic": "bn2", "bottleneck": "bn3"}[kind]
    assert block.get_submodule(last).weight.grad.count_nonzero() == 8


def test_blocks_that_cannot_be_matched_are_refused():
    with pytest.raises(InputError, match="theirs of the seed, a basic block, to ours, a mbconv block"):
        remapped(BlockSpec("basic", 8), BlockSpec("mbconv", 8))
    with pytest.raises(InputError, match=r"ours changes from 8 to 16 channels .* needs downsample.0 \[16, 8, 1, 1\]"):
        remapped(BlockSpec("basic", 8), BlockSpec("basic", 16))
    with pytest.raises(InputError, match="theirs of the seed to ours: a 5x5 kernel"):
        remapped(BlockSpec("mbconv", 8, 5), BlockSpec("mbconv", 8, 7), strategy=Strategy(kernel="dilate"))


def test_strategies_that_there_are_not_are_refused():
    with pytest.raises(InputError, match="width=random"):
        Strategy(width="random")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="noise=-1 is negative"):
        Strategy(noise=-1)
