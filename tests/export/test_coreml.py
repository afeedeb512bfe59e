"""Core ML takes over a model, anywhere; the file runs on Apple's systems alone, which is said."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.export.coreml import CORE_ML
from fbnetv5.export.runtime import load_exported
from scripts.export import main
from tests.export.models import CLASSES, saved_run
from tests.on_request import some_on_request

pytest.importorskip("executorch", reason="the export extra is not installed")
if importlib.util.find_spec("coremltools") is None:
    pytest.skip("executorch has not brought coremltools", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="the file runs here")
@pytest.mark.usefixtures("short_family")
@pytest.mark.parametrize("task", some_on_request(list(CLASSES), {"det", "seg"}))
def test_a_file_is_written_and_says_where_it_runs(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = saved_run(tmp_path, task)
    main([str(folder), "--format", "coreml", "--precision", "fp16", "export.num_evaluated=4"])
    file = folder / "export" / "model_fp16.coreml.pte"
    found = json.loads(Path(f"{file}.json").read_text())
    macs = found["macs_by_backend"]
    assert macs[CORE_ML] / sum(macs.values()) > 0.99
    assert (found["runtime"], found["precision"], found["metrics"]) == ("coreml", "fp16", {})
    assert "runs on macOS and iOS alone" in capsys.readouterr().out
    with pytest.raises(InputError, match="runs on macOS and iOS alone"):
        load_exported(file)
