"""Make an architecture as wide as a bound on its MACs allows: the channel multipliers of Sec. 4.2.

    python -m projects.fpnas.scale architecture.yaml wider.yaml --bound 300e6 --size 224 --classes 1000
    python -m projects.fpnas.scale found_on_cifar10.yaml for_imagenet.yaml --macro imagenet --bound 300e6

With ``--macro`` the block types are put into another macro structure first, with its strides and channels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fbnetv5.base.errors import one_line_errors
from fbnetv5.base.types import Size
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.heads.classifier import HIDDEN_CHANNELS, pooled_classifier_macs
from fbnetv5.projects.fpnas.macro import MACROS


def classifier_macs(
    architecture: Architecture, size: Size, num_classes: int, *, hidden_channels: int = HIDDEN_CHANNELS
) -> int:
    """Return the MACs of an architecture with its ``PooledClassifier``, for images of ``size`` (height, width)."""
    out_size = architecture.macro.out_size(size)
    channels = architecture.macro.places[-1].channels
    head = pooled_classifier_macs(channels, num_classes, out_size, hidden_channels=hidden_channels)
    return architecture.cost(size).macs + head


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parser().parse_args(arguments)
    size = (options.size, options.size)

    def macs(architecture: Architecture) -> int:
        return classifier_macs(architecture, size, options.classes)

    architecture = Architecture.load(options.architecture)
    if options.macro is not None:
        architecture = Architecture(MACROS[options.macro], architecture.types)
    scaled, multiplier = architecture.scaled_to(options.bound, macs, options.divisor)
    info = {"multiplier": round(multiplier, 4), "macs": macs(scaled), "size": options.size, "bound": options.bound}
    scaled.save(options.output, info)
    print(f"{options.output}: channels x {multiplier:.3f}, {macs(scaled) / 1e6:,.1f} M MACs with its classifier")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("architecture", help="YAML file that a search wrote")
    parser.add_argument("output", help="YAML file to write")
    parser.add_argument("--bound", type=float, required=True, help="the network has fewer MACs than this")
    parser.add_argument("--size", type=at_least(32), default=224, help="side of the images, in pixels (224)")
    parser.add_argument("--classes", type=at_least(1), default=1000, help="of the classifier (1000)")
    parser.add_argument("--macro", choices=list(MACROS), help="take strides and channels of this macro structure")
    parser.add_argument("--divisor", type=at_least(2), default=8, help="channels are multiples of this (8)")
    return parser


if __name__ == "__main__":
    main()
