from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.report import html
from fbnetv5.report.html import REPORT, duration, try_report, write_report
from tests.report.pages import Page
from tests.report.runs import TASKS, probabilities, write_config, write_records, write_search, write_training

NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" ]]>"


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_numbers_of_a_search_are_its_files(tmp_path):
    write_search(tmp_path)
    page = page_of(tmp_path)
    family = get_family("NANO")
    whole = network_cost(family, Topology.full(4), (96, 96))
    expected = []
    for k, task in enumerate(("cls", "det", "seg")):
        topology = Topology.load(tmp_path / f"topology_{task}.yaml")
        cost = network_cost(family, topology.prune((2,)), (96, 96))
        expected += [cost.macs, cost.params]
        assert f"{len(topology.blocks)} of 16" in page.text
        assert f"{100 * cost.macs / whole.macs:.1f} %" in page.text
        assert {f"{value:.2f}" for value in probabilities(k, 16, 1)} <= set(page.texts["text"])
        last = 2 / (2 + k)
        assert f"{last:.3g}" in page.texts["b"]
    assert page.data() == [*expected, whole.macs, whole.params]
    assert {"my search", "30 s", "60", "3", "fbnetv5 0.1.0, Python 3.11.7, torch 2.15.0"} <= set(page.text.split("\n"))
    assert "not finished" not in page.text
    assert f"output={tmp_path}_again" in page.text


def test_the_numbers_of_a_training_are_its_files(tmp_path):
    metrics = write_training(tmp_path)
    page = page_of(tmp_path)
    whole = (208_315_320, 1_079_789)
    topology = Topology(7, frozenset({(1, 3), (2, 2), (3, 1), (4, 0)}), (1,)).prune((1,))
    backbone = network_cost(get_family("NANO"), topology, (96, 96))
    costs = [backbone.macs, backbone.params, whole[0] - backbone.macs, whole[1] - backbone.params, *whole]
    assert page.data() == [metrics["AP"], metrics["AP50"], 0.5, 0.71, 0.4, 0.61, 0.3, 0.51, *costs]
    assert {"32.97", "49.85", "33.0 %", "208 M", "1.08 M", "LiteRCNN"} <= set(page.text.replace(", ", "\n").split("\n"))
    titles = page.texts["title"]
    assert any(title.startswith("AP: from 11 % at step 100 to 33 % at step 300") for title in titles), titles
    assert [row for row in page.texts["th"] if row in ("disk", "square", "triangle")] == ["triangle", "square", "disk"]


@pytest.mark.parametrize("write", [write_search, write_training])
def test_a_page_loads_nothing_and_runs_nothing(tmp_path, write):
    write(tmp_path)
    page = page_of(tmp_path)
    assert page.loads == []
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "embed", "base")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    text = re.sub(r"base64,[^\"']+", "", (tmp_path / REPORT).read_text(encoding="utf-8"))  # any letters may meet there
    assert "http" not in text.replace("http-equiv", "")


def test_pictures_say_what_they_show(tmp_path):
    write_training(tmp_path / "training")
    write_search(tmp_path / "search")
    for name in ("training", "search"):
        page = page_of(tmp_path / name)
        drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
        hidden = [attributes for attributes in drawings if attributes.get("aria-hidden") == "true"]
        assert all(attributes["role"] == "img" for attributes in drawings if attributes not in hidden)
        assert len(page.texts["title"]) == 1 + len(drawings) - len(hidden)
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
        assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")


def test_what_a_user_named_is_escaped(tmp_path):
    write_search(tmp_path / "search", tasks=("cls", "<b>det"), name=NASTY)
    metrics = write_training(tmp_path / "training", classes=[NASTY, "größe", ""], name=NASTY)
    assert f"AP/{NASTY}" in metrics
    for name in ("search", "training"):
        page = page_of(tmp_path / name)  # which would find the elements of the name unclosed
        assert not [tag for tag, _ in page.elements if tag == "script"]
        assert len([tag for tag, _ in page.elements if tag == "img"]) == (name == "training")
        assert page.texts["h1"] == [" ".join(NASTY.split())]
    assert NASTY in page.texts["th"]
    assert "größe" in page.texts["th"]


def test_the_same_files_give_the_same_bytes(tmp_path):
    for write in (write_search, write_training):
        write(tmp_path / write.__name__)
        first = write_report(tmp_path / write.__name__).read_bytes()
        assert write_report(tmp_path / write.__name__).read_bytes() == first


def test_a_page_is_small(tmp_path):
    write_search(tmp_path / "search", TASKS, num_stages=7, num_records=900)
    assert write_report(tmp_path / "search").stat().st_size < 400_000
    write_training(tmp_path / "training", [f"class {index}" for index in range(150)], picture=(1600, 2400))
    assert write_report(tmp_path / "training").stat().st_size < 2_000_000


def test_an_interrupted_search_shows_what_is_likeliest(tmp_path):
    write_search(tmp_path, processes=4)
    for file in [*tmp_path.glob("topology_*"), tmp_path / "model.safetensors"]:
        file.unlink()
    for name in ("metrics.jsonl", "probabilities.csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text[:-20])  # cut off within the last record
    page = page_of(tmp_path)
    assert "not finished: step 55 of 60" in page.text
    assert "likeliest so far" in page.text
    command = f"fbnetv5 run {tmp_path}/config.yaml --processes 4 resume=true"
    assert command in page.texts["code"]


def test_a_resumed_run_is_repeated_from_its_start(tmp_path):
    write_search(tmp_path, resume=True)
    (command,) = [text for text in page_of(tmp_path).texts["code"] if text.startswith("fbnetv5 run")]
    assert command.endswith(f"output={tmp_path}_again resume=false")


def test_an_interrupted_training_shows_its_last_evaluation(tmp_path):
    write_training(tmp_path)
    for name in ("model.safetensors", "metrics.json", "config.json"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "predictions")
    page = page_of(tmp_path)
    assert page.data()[0] == pytest.approx(0.3297002 * 2 / 3)
    assert "In %, after step 200, on 85 images." in page.text


def test_runs_that_have_hardly_begun(tmp_path):
    for job in ("search", "pretrain", "train", "evaluate", "another"):
        write_config(tmp_path / job, job=job)
        assert "No metrics are recorded" in page_of(tmp_path / job).text
    write_records(tmp_path / "train", [{"step": 1, "loss": 0.5}])
    assert "total: 0.5 at step 1" in page_of(tmp_path / "train").texts["title"]
    write_config(tmp_path / "label", job="label")
    assert "not finished" in page_of(tmp_path / "label").text
    (tmp_path / "label" / "summary.json").write_text("{}")
    assert "not finished" not in page_of(tmp_path / "label").text
    write_config(tmp_path / "train", job=None, name=7, train=None, model=[], runtime="?", search={"steps": "x"})
    page_of(tmp_path / "train")


def test_an_evaluation_shows_its_metrics_and_pictures(tmp_path):
    write_training(tmp_path, job="evaluate")
    (tmp_path / "metrics.jsonl").unlink()
    page = page_of(tmp_path)
    assert "In %, on 128 images." in page.text
    assert "No metrics are recorded" not in page.text
    assert "not finished" not in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 1


def test_a_pretraining_shows_its_losses(tmp_path):
    write_search(tmp_path, job="pretrain")
    for file in [*tmp_path.glob("topology_*"), tmp_path / "probabilities.csv"]:
        file.unlink()
    page = page_of(tmp_path)
    assert {"loss of cls", "loss of det", "loss of seg"} <= set(page.texts["span"])
    assert "Topologies" not in page.texts["h2"]


def test_damaged_files_are_left_out(tmp_path):
    write_search(tmp_path)
    write_training(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": NaN, "lr": Infinity}\n[]\n7\nnull\n{"loss": 1}\n{"step": 2, "loss": "x", "lr": true}\n'
        '{"step": 3, "loss": 1e308, "tiny": 1e-320, "same": 5}\n{"step": 4, "same": 5, "tiny": 0}\n{"step": 9, "lo'
    )
    (tmp_path / "probabilities.csv").write_text("step,task,stage 1 / path 0\n1,cls,2\nx,cls,0.5\n1\n")
    (tmp_path / "topology_cls.yaml").write_text("paths: {")
    (tmp_path / "topology_det.yaml").write_text("num_stages: 1\npaths: {0: [1]}\ninfo: [head_path]\n")
    (tmp_path / "metrics.json").write_text('{"metrics": [], "model": {"input_size": 3, "macs": 1, "params": 2}}')
    (tmp_path / "config.json").write_text('{"topology": {"num_stages": 1, "blocks": [[9, 9]], "outputs": [0]}}')
    (tmp_path / "predictions" / "drawn.png").write_bytes(b"no picture")
    for job in ("search", "train", "pretrain", "evaluate"):
        write_config(tmp_path, job=job, name="damaged", tasks={"cls": {}}, model={"family": "?"})
        page = page_of(tmp_path)
        assert "nan" not in page.text.lower().split()
        assert not [tag for tag, _ in page.elements if tag == "img"]


def test_metrics_with_gaps_are_drawn_where_they_are(tmp_path):
    write_config(tmp_path, job="search")
    records = [{"step": step, **({"loss/det": 1.0 + step} if step % 2 else {})} for step in range(1, 10)]
    write_records(tmp_path, records)
    page = page_of(tmp_path)
    titles = [title for title in page.texts["title"] if title.startswith("det")]
    assert titles == ["det: from 2 at step 1 to 10 at step 9; lowest 2 at step 1, highest 10 at step 9"]


def test_no_folder_of_a_run(tmp_path):
    with pytest.raises(InputError, match=r"config\.yaml: there is no configuration; is .* the folder of a run\?"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml is damaged"):
        write_report(tmp_path)
    assert not (tmp_path / REPORT).exists()


def test_a_report_that_fails_does_not_fail_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(html, "write_report", lambda folder: json.loads("no\njson"))
    try_report(tmp_path)
    warning = capsys.readouterr().err
    assert warning.startswith("warning: no report.html: JSONDecodeError: ")
    assert warning.count("\n") == 1


def test_pictures_are_scaled(tmp_path):
    write_training(tmp_path, picture=(1600, 2400))
    page = page_of(tmp_path)
    (attributes,) = [attributes for tag, attributes in page.elements if tag == "img"]
    assert (attributes["width"], attributes["height"]) == ("1400", "2100")
    Image.new("RGB", (300, 200)).save(tmp_path / "predictions" / "drawn.png")
    (attributes,) = [attributes for tag, attributes in page_of(tmp_path).elements if tag == "img"]
    assert (attributes["width"], attributes["height"]) == ("300", "200")


def test_durations_add_up_over_resumptions(tmp_path):
    write_config(tmp_path, job="train")
    clocks = ((20, 60.0), (40, 61.0))  # the second record is of a run that was resumed, and took as long for as much
    write_records(tmp_path, [{"step": k, "elapsed_seconds": s, "seconds_per_step": 3.0} for k, s in clocks])
    assert "2 min 00 s" in write_report(tmp_path).read_text()
    assert [duration(s) for s in (0.4, 59, 61, 3600, 360_000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "1 h 00 min",
        "100 h 00 min",
    ]
