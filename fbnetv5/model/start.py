"""The first weights of a family's network, where its trunk has pretrained ones."""

from __future__ import annotations

from fbnetv5.archs.block_start import start_blocks
from fbnetv5.archs.joint import JointNet
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.trunk_weights import TrunkWeights, load_trunk_weights
from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import ModelConfig

STARTS = {
    "copied": "from its last layers",
    "zeroed": "from its last layers, with no effect at first",
    "random": "from random values",
}
"""Where blocks start from, by ``model.block_start``."""


def start_from_trunk(network: MultiPathNet | JointNet, config: ModelConfig, *, is_main: bool) -> TrunkWeights | None:
    """Load what ``model.trunk_weights`` names, and start the blocks from it as ``model.block_start`` says.

    Args:
        network: of a search, or of a final model for one task or several.
        config: the node ``model``.
        is_main: whether to say where the weights come from.

    Returns:
        the weights, with what images are normalised with for them; None where there are none, or ``model.weights``
        takes the place of all of them.

    Raises:
        InputError: the weights cannot be had or read, or do not fit.
    """
    source = config.trunk_weights
    if source is None or config.weights is not None:
        return None
    if source == "timm":
        raise InputError("model.trunk_weights=timm is now model.trunk_weights=pretrained")
    found = load_trunk_weights(network, source)
    parts = list(network.parts()) if isinstance(network, JointNet) else [network]
    for part in parts:
        start_blocks(part, config.block_start)  # type: ignore[arg-type]  # checked with the configuration
    if is_main:
        blocks = f", blocks {STARTS[config.block_start]}" if any(len(part.blocks) for part in parts) else ""
        print(f"the trunk starts from {found.origin}{blocks}", flush=True)
    return found
