"""The commands of docs/YOUR_DATA.md run as they stand; what takes minutes is only started as far as its config."""

from __future__ import annotations

import re
from pathlib import Path

from fbnetv5.cli import commands
from fbnetv5.config.read import load_config
from tests.processes import run, script

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "YOUR_DATA.md").read_text(encoding="utf-8")


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = set()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    for line in lines:
        program, *words = line.split("#")[0].split()
        if program == "python":
            result = run(script, ROOT / words[0], *words[1:-1], "24")  # fewer images
        elif words[0] in ("init", "check"):
            result = run(commands.main, words)
        else:
            named = words[1] if words[1].endswith(".yaml") else Path(words[1]).name + ".yaml"
            load_config(tmp_path / named, [f"job={words[0].replace('predict', 'evaluate')}"])
            continue
        assert result.returncode == 0, result.stderr
        seen.add(words[0])
    assert seen == {"scripts/make_shapes.py", "init", "check"}
    assert (tmp_path / "sheet.jpg").is_file()
