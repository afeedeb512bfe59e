"""Names of metrics, of one task and of several."""

from __future__ import annotations

from fbnetv5.engine.log import format_metrics
from fbnetv5.metrics.names import MetricName, overall, split_names
from fbnetv5.report.tables import class_table, main_names

ONE = {"mIoU": 0.5, "IoU/cat": 0.25, "IoU/a/b": 0.75, "num_images": 3.0}
SEVERAL = {f"seg/{name}": value for name, value in ONE.items()} | {
    "cls/top1": 0.9,
    "cls/top5": 1.0,
    "cls/num_images": 4.0,
}


def test_a_task_is_known_by_its_number_of_images():
    assert split_names(ONE)["IoU/a/b"] == MetricName("", "IoU", "a/b")
    assert split_names(SEVERAL)["seg/IoU/a/b"] == MetricName("seg", "IoU", "a/b")
    assert split_names(SEVERAL)["cls/top1"] == MetricName("cls", "top1", "")
    assert overall(ONE) == ["mIoU"]
    assert overall(SEVERAL) == ["seg/mIoU", "cls/top1", "cls/top5"]


def test_tables_and_lines_have_each_task():
    assert main_names(SEVERAL) == ["seg/mIoU", "cls/top1"]
    assert main_names(ONE) == ["mIoU"]
    assert class_table(ONE) == (["IoU"], [("a/b", [0.75]), ("cat", [0.25])])
    assert class_table(SEVERAL) == (["seg/IoU"], [("a/b", [0.75]), ("cat", [0.25])])
    assert format_metrics(SEVERAL) == "seg/mIoU 0.5  seg/num_images 3  cls/top1 0.9  cls/top5 1  cls/num_images 4"
