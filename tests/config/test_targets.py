"""Classes that a config names."""

from __future__ import annotations

from pathlib import Path

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


def test_a_module_that_is_there_and_at_fault_is_not_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "heads.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="nothing_of_that_name") as refused:
        find_class("model.head", {"_target_": "own.heads.Mine"})
    assert "did you mean" not in str(refused.value)


@pytest.mark.parametrize("path", NEAREST)
def test_a_class_that_is_not_there_is_told_with_the_nearest(path: str) -> None:
    with pytest.raises(InputError) as refused:
        find_class("model.head", {"_target_": path})
    assert str(refused.value).startswith(f"model.head._target_={path} cannot be imported: ")
    assert str(refused.value).partition("; did")[1:] == NEAREST[path].partition("; did")[1:]
