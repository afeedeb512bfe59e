"""Real ImageNet weights on real photos, where both are there: FBNETV5_PETS is the folder of the Oxford pets."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import timm
import torch

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import named_topology
from fbnetv5.archs.trunk_weights import PACKAGES, PRETRAINED, load_trunk_weights
from fbnetv5.data.images import read_image
from fbnetv5.data.inputs import InputSpec

PETS = Path(os.environ.get("FBNETV5_PETS", "nowhere"))
DOGS, CATS = range(151, 269), range(281, 286)  # classes of ImageNet
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PETS / "labels_train.csv").is_file(), reason="FBNETV5_PETS is not set"),
    pytest.mark.skipif(PACKAGES["efficientnet_lite0"].file() is None, reason="the weights are not installed"),
]


@pytest.mark.parametrize(("name", "least"), [("efficientnet_lite0", 44), ("tf_efficientnet_lite0", 43)])
def test_cats_and_dogs_are_told_apart(name, least):
    """The likeliest of ImageNet's classes is a breed of the right species, on 45 and 44 of 50 photos when measured.

    Through our trunk and timm's own classifier; breeds of cats begin with a capital.
    """
    network = MultiPathNet(get_family(f"timm/{name}"), named_topology("linear", 1).prune((3,))).eval()
    found = load_trunk_weights(network, PRETRAINED)
    model = timm.create_model(name).eval()
    model.load_state_dict(found.weights, strict=False)
    spec = InputSpec(256, crop=224).normalised_with(found.normalisation)
    with (PETS / "labels_train.csv").open() as file:
        rows = list(csv.DictReader(file))[::6]
    right = 0
    for row in rows:
        image = spec.prepare(read_image(PETS / "images" / "train" / row["file_name"]))
        with torch.no_grad():
            feature = model.bn2(model.conv_head(network(image[None])[3]))
            likeliest = int(model.forward_head(feature).argmax())
        right += likeliest in (CATS if row["label"][0].isupper() else DOGS)
    assert len(rows) == 50
    assert right >= least
