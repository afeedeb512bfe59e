"""``fbnetv5 collect``: the Pareto front against brute force, and folders in any state become a table."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import pytest
import yaml

from fbnetv5.cli import commands
from fbnetv5.runs.collect import fronts, labels_of, scores_of
from fbnetv5.runs.gather import Row
from fbnetv5.runs.pareto import pareto_front


def brute_force(points):
    """Straight from the definition: not beaten by any other point."""
    valid = {i: p for i, p in enumerate(points) if None not in p and not any(map(math.isnan, p))}
    beaten = {
        i
        for i, (cost, score) in valid.items()
        if any(c <= cost and s >= score and (c < cost or s > score) for c, s in valid.values())
    }
    return sorted(valid.keys() - beaten, key=lambda i: (points[i][0], i))


@pytest.mark.parametrize("seed", range(200))
def test_the_front_is_what_no_other_point_beats(seed):
    draw = random.Random(seed)
    values = [*range(draw.choice((2, 5, 50))), -1.5, math.nan, None]  # few values: ties and duplicates
    points = [(draw.choice(values), draw.choice(values)) for _ in range(draw.randrange(25))]
    assert pareto_front(points) == brute_force(points)


def test_equal_points_are_on_the_front_together():
    assert pareto_front([(2, 5), (1, 3), (2, 5), (2, 4), (3, 5)]) == [1, 0, 2]
    assert pareto_front([(math.nan, 1), (1, None)]) == []


def write_run(folder, seed, family="NANO", *, job="train", **files):
    folder.mkdir(parents=True)
    config = {"defaults": ["/fbnetv5/schema"], "job": job, "seed": seed, "model": {"family": family}, "output": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for name, content in files.items():
        stem, suffix = name.rsplit("_", 1)
        (folder / f"{stem}.{suffix}").write_text(content)


def report(macs, top1):
    model = {"head": "fbnetv5.heads.classifier.Classifier", "macs": macs, "params": 10, "input_size": [9, 9]}
    return json.dumps({"metrics": {"num_images": 4, "top1": top1, "top1/cat": 1.0}, "model": model})


def rows_of(folder):
    with (folder / "collected.csv").open() as file:
        return {row["run"].rsplit("/", 1)[-1] + row["task"]: row for row in csv.DictReader(file)}


def test_trainings_in_any_state(tmp_path, capsys):
    write_run(tmp_path / "small", 0, metrics_json=report(100, 0.5))
    write_run(tmp_path / "worse", 1, metrics_json=report(200, 0.4))
    write_run(tmp_path / "large", 1, "A", metrics_json=report(300, 0.9))
    write_run(tmp_path / "half", 2, metrics_jsonl='{"step": 4, "loss": 2.0}\n{"step": 8, "lo')
    write_run(tmp_path / "broken", 3, metrics_json="{", config_yaml=": [")
    write_run(tmp_path / "no_val", 1, README_md="its card")
    (tmp_path / "killed").mkdir()
    for text in ("{}", "job: {value: train}\nname: {value: x}\n"):  # what a logger keeps in a run is no run
        logged = tmp_path / "small" / "loggers" / "wandb" / f"run-{len(text)}" / "files"
        logged.mkdir(parents=True)
        (logged / "config.yaml").write_text(text)
    (tmp_path / "killed" / "job.json").write_text(json.dumps({"status": "failed", "error": "killed by <SIGKILL>"}))
    commands.main(["collect", str(tmp_path)])
    rows = rows_of(tmp_path)
    assert {name: row["front"] for name, row in rows.items() if row["top1"]} == {
        "smallClassifier": "yes",
        "worseClassifier": "",
        "largeClassifier": "yes",
    }
    assert rows["largeClassifier"]["model.family"] == "A"
    assert {"seed", "model.family"} == rows["half"].keys() & {"seed", "model.family", "output", "job", "top1/cat"}
    assert (rows["half"]["status"], rows["killed"]["status"]) == ("unfinished", "failed")
    assert "step 4" in rows["half"]["note"]
    assert "metrics.jsonl has 1 damaged line" in rows["half"]["note"]
    assert "config.yaml is damaged" in rows["broken"]["note"]
    assert "metrics.json is damaged" in rows["broken"]["note"]
    out = capsys.readouterr().out
    assert "1 failed, 4 finished, 2 unfinished run(s)" in out
    text = (tmp_path / "collected.html").read_text()
    assert "killed by &lt;SIGKILL&gt;" in text
    assert "<svg" in text
    assert "<?xml" not in text
    assert 'src="http' not in text


def test_a_search_has_a_row_for_each_task(tmp_path):
    for seed, (macs, loss) in enumerate([(100, 2.0), (200, 1.0), (300, 1.5)]):
        info = {"info": {"task": "seg", "backbone_macs": macs, "backbone_params": 5, "selected_blocks": 3}}
        info["info"]["backbone_latency_ms"] = macs / 8
        write_run(
            tmp_path / str(seed),
            seed,
            job="search",
            topology_seg_yaml=yaml.safe_dump(info),
            topology_det_yaml=yaml.safe_dump({"info": "none"}),
            metrics_jsonl=json.dumps({"step": 2, "loss/seg": loss}) + "\n",
        )
    commands.main(["collect", str(tmp_path / "*"), "--task", "seg", "--output", str(tmp_path / "out")])
    rows = rows_of(tmp_path / "out")
    assert [row["front"] for row in rows.values()] == ["yes", "yes", ""]  # a low loss is better
    assert [float(row["latency_ms"]) for row in rows.values()] == [12.5, 25, 37.5]
    commands.main(["collect", str(tmp_path / "?"), "--output", str(tmp_path / "both")])
    assert len(rows_of(tmp_path / "both")) == 6


def test_each_task_has_a_score_of_its_own_and_a_file_its_metric(tmp_path, capsys):
    for name, head, metric, value in (("c", "Classifier", "top1", 0.9), ("d", "LiteRCNN", "AP", 0.4)):
        model = {"head": f"x.{head}", "macs": 100}
        write_run(tmp_path / name, 0, metrics_json=json.dumps({"metrics": {metric: value}, "model": model}))
    commands.main(["collect", str(tmp_path)])
    assert "drawn: top1, AP against macs\n" in capsys.readouterr().out
    assert [row["front"] for row in rows_of(tmp_path).values()] == ["yes", "yes"]

    (tmp_path / "c" / "export").mkdir()
    rated = {"main": "top1", "exported": {"top1": 0.8}}
    sidecar = {"runtime": "onnx", "precision": "int8", "metrics": rated, "milliseconds": {"a phone": 3}}
    (tmp_path / "c" / "export" / "model_int8.onnx.json").write_text(json.dumps(sidecar))
    commands.main(["collect", str(tmp_path), "--x", "ms"])
    out = capsys.readouterr().out
    assert "drawn: top1 onnx int8, AP against ms onnx int8, a phone; 1 of 2 rows lack one of them" in out
    assert rows_of(tmp_path)["cClassifier"]["top1 onnx int8"] == "0.8"
    assert [row["front"] for row in rows_of(tmp_path).values()] == ["yes", ""]


def test_a_files_score_is_its_main_metric_wherever_that_stands():
    ms = "ms onnx int8, a phone"
    values = {"macs": 1.0, "tPCK@0.2": 0.9, "PCK@0.2": 0.7, "PCK@0.2 onnx int8": 0.6, "PCK@0.2 onnx fp32": 0.7, ms: 3.0}
    rows = [Row(Path(folder), "Keypoints", values=values) for folder in ("a/fpn", "b/fpn")]
    assert scores_of(rows, ms, None) == {"Keypoints": "PCK@0.2 onnx int8"}
    assert scores_of(rows, "macs", None) == {"Keypoints": "tPCK@0.2"}
    assert scores_of(rows, ms, "PCK@0.2") == {"Keypoints": "PCK@0.2"}
    assert (labels_of(rows), labels_of(rows[:1])) == (["a/fpn", "b/fpn"], ["fpn"])


def test_of_costs_less_is_better():
    ms = "ms onnx fp32, a phone"
    points = ((1e6, 1.0), (2e6, 9.0), (3e6, 0.5))
    for column in (ms, "latency_ms", "loss/cls", "seconds"):
        rows = [Row(Path(str(macs)), "det", values={"macs": macs, column: y}) for macs, y in points]
        assert fronts(rows, "macs", {"det": column}) == {0, 2}
    rows = [Row(Path(str(macs)), "det", values={"macs": macs, "AP": y}) for macs, y in points]
    assert fronts(rows, "macs", {"det": "AP"}) == {0, 1}


def test_what_was_killed_half_way_is_not_finished(tmp_path):
    seg, det = (yaml.safe_dump({"info": {"task": task, "backbone_macs": 5}}) for task in ("seg", "det"))
    write_run(tmp_path / "half", 0, job="search", topology_seg_yaml=seg)
    write_run(tmp_path / "whole", 0, job="search", topology_seg_yaml=seg, topology_det_yaml=det)
    for name in ("half", "whole"):
        config = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        tasks = {"seg": {"_target_": "x"}, "det": {"_target_": "y"}, "cls": None}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config | {"tasks": tasks}))
    write_run(tmp_path / "file", 0, job="export", model_fp32_json="{}", job_json=json.dumps({"status": "failed"}))
    write_run(tmp_path / "files", 0, job="export", model_fp32_json="{}", exported_json="{}")
    commands.main(["collect", str(tmp_path), "--y", "macs"])
    status = {name: row["status"] for name, row in rows_of(tmp_path).items()}
    assert status == {
        "halfseg": "unfinished", "wholeseg": "finished", "wholedet": "finished", "file": "failed", "files": "finished",
    }  # fmt: skip


def test_what_was_evaluated_within_a_run_is_no_run_of_its_own(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "sweep" / f"seed-{seed}", seed, metrics_json=report(100, 0.5))
    inside = tmp_path / "sweep" / "seed-0" / "predict" / "données"
    write_run(inside, 7, job="evaluate", metrics_json=report(100, 0.9))
    commands.main(["collect", str(tmp_path / "sweep")])
    assert rows_of(tmp_path / "sweep").keys() == {"seed-0Classifier", "seed-1Classifier"}
    commands.main(["collect", str(inside), "--output", str(tmp_path / "named")])
    assert "donnéesClassifier" in rows_of(tmp_path / "named")


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    write_run(tmp_path / "run", 0, metrics_json=report(100, 0.5))
    (tmp_path / "empty").mkdir()
    for arguments, expected in (
        ([str(tmp_path / "absent")], "absent: there is no such folder"),
        ([str(tmp_path / "empty")], "no runs in"),
        ([str(tmp_path), "--y", "top5"], "--y top5: no run has it"),
        ([str(tmp_path), "--task", "Clasifier"], "--task Clasifier: no run has it; there are Classifier"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            commands.main(["collect", *arguments])
        assert exit_info.value.code == 1
        assert expected in capsys.readouterr().err
