"""Classes that a config names."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.config.targets import find_class

HEADS = "fbnetv5.heads"
NEAREST = {
    f"{HEADS}.classifier.Clasifier": f"; did you mean '{HEADS}.classifier.Classifier'?",
    f"{HEADS}.clasifier.Classifier": f"; did you mean '{HEADS}.classifier'?",
    "fbnetv5.head.classifier.Classifier": f"; did you mean '{HEADS}'?",
    f"{HEADS}.classifier.Zebra": "",
    "nowhere.Classifier": "",
}


@pytest.mark.parametrize("path", NEAREST)
def test_a_class_that_is_not_there_is_told_with_the_nearest(path: str) -> None:
    with pytest.raises(InputError) as refused:
        find_class("model.head", {"_target_": path})
    assert str(refused.value).startswith(f"model.head._target_={path} cannot be imported: ")
    assert str(refused.value).partition("; did")[1:] == NEAREST[path].partition("; did")[1:]
