"""Core ML takes over a model, anywhere; the file runs on Apple's systems alone, which is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.export.coreml import CORE_ML
from fbnetv5.export.runtime import load_exported
from fbnetv5.model.folder import save_model
from scripts.export import main
from tests.export.models import CONFIG, FEW_BLOCKS, random_model
from tests.on_request import some_on_request

pytest.importorskip("executorch", reason="the export extra is not installed")
pytest.importorskip("coremltools", reason="executorch has not brought coremltools")

CLASSES = {"cls": "label", "det": "boxes", "seg": "segmentation"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="the file runs here")
@pytest.mark.usefixtures("short_family")
@pytest.mark.parametrize("task", some_on_request(list(CLASSES), {"det", "seg"}))
def test_a_file_is_written_and_says_where_it_runs(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    classes = ShapesSource(1, 64, 0).classes[CLASSES[task]]
    model = random_model(task, "SHORT", side=96, topology=FEW_BLOCKS[task], classes=classes)
    save_model(tmp_path / task, model, model.spec)
    (tmp_path / task / "config.yaml").write_text(CONFIG.format(name=task))
    main([str(tmp_path / task), "--format", "coreml", "--precision", "fp16", "export.num_evaluated=4"])
    file = tmp_path / task / "export" / "model_fp16.coreml.pte"
    found = json.loads(Path(f"{file}.json").read_text())
    macs = found["macs_by_backend"]
    assert macs[CORE_ML] / sum(macs.values()) > 0.99
    assert (found["runtime"], found["precision"], found["metrics"]) == ("coreml", "fp16", {})
    assert "runs on macOS and iOS alone" in capsys.readouterr().out
    with pytest.raises(InputError, match="runs on macOS and iOS alone"):
        load_exported(file)
