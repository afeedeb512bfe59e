from __future__ import annotations

from projects.fpnas.speed import main
from tests.jobs.runs import ROOT


def test_both_speeds_and_their_ratio_are_printed(capsys):
    config = str(ROOT / "projects" / "fpnas" / "configs" / "cifar10_small.yaml")
    main([config, "search.batch_size=8", "--images", "16", "--rounds", "1"])
    *_, speeds, ratio = capsys.readouterr().out.splitlines()
    numbers = [float(word) for word in speeds.replace(",", "").split() if word.isdigit()]
    assert len(numbers) == 2
    assert ratio.startswith("ratio ")
    assert abs(float(ratio.split()[1]) - numbers[0] / numbers[1]) < 0.2
