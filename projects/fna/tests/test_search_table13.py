"""Rows 1 to 5 of Table 13: which runs they share, what they need, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.projects.fna.spaces import get_space
from fbnetv5.projects.fna.table13 import Table13, main
from fbnetv5.projects.fna.table13_plan import load_table, plan, settings
from fbnetv5.projects.fna.table13_results import gather, markdown
from fbnetv5.runs.job import Outcome
from tests.on_request import ON_REQUEST

PETS = Path(__file__).parents[1] / "configs" / "table13" / "pets.yaml"


def test_rows_share_their_searches(tmp_path):
    jobs = {job.name: job for job in plan(load_table(PETS, ["data=/data", "seeds=[3,4]"]), tmp_path)}
    assert len(jobs) == 1 + 2 * (2 + 5)
    needs = {name: job.after for name, job in jobs.items()}
    assert needs["seed-3/search-from-random"] == needs["seed-4/search-from-seed"] == ("seed_network",)
    by_row = {row: needs[f"seed-4/row-{row}"] for row in range(1, 6)}
    assert by_row == {row: (f"seed-4/search-from-{'seed' if row in (1, 2, 4) else 'random'}",) for row in by_row}
    starts = {
        row: next(o for o in jobs[f"seed-3/row-{row}"].work.overrides if o.startswith("project.start"))
        for row in by_row
    }
    assert list(starts.values()) == [
        f"project.start={start}" for start in ("super", "seed", "seed", "random", "random")
    ]


def test_a_trained_seed_is_not_trained_again(tmp_path):
    search, row = plan(load_table(PETS, ["data=/data", f"trained_seed={tmp_path}", "rows=[1]", "seeds=[0]"]), tmp_path)
    assert (search.name, row.name) == ("seed-0/search-from-seed", "seed-0/row-1")
    assert f"project.seed='{tmp_path}'" in search.work.overrides


def test_a_seed_by_name_goes_with_a_space(tmp_path):
    imagenet = PETS.with_name("pets_imagenet.yaml")
    search = plan(load_table(imagenet, ["data=/data", "rows=[1]", "seeds=[0]"]), tmp_path)[0]
    assert search.name == "seed-0/search-from-seed"
    assert {"project.seed='timm/efficientnet_lite0'", "project.space=efficientnet_lite0_seg"} <= set(
        search.work.overrides
    )


def test_rows_that_are_kept_are_not_made_again(tmp_path):
    config = load_table(
        PETS, ["data=/data", "rows=[1,4]", "seeds=[0,1]", f"output={tmp_path}/a", f"table={tmp_path}/t.csv"]
    )
    first = Table13(config)
    done = [job for job in first.jobs({}).jobs if job.name.startswith(("seed-0", "seed_network"))]
    for job in done:
        job.folder.mkdir(parents=True)
        (job.folder / FINAL_METRICS).write_text(json.dumps({"metrics": {"mIoU": 0.5 + job.name.endswith("4") / 4}}))
    search = tmp_path / "a" / "seed-0" / "search-from-seed"
    space = get_space("mobilenetv2_035_seg")
    info = {"space": space.name, "choices": [0] * len(space.slots), "operations": 1, "backbone_macs": 9}
    space.decode(info["choices"]).save(search / "architecture.yaml", info)
    first.write({job.name: Outcome(job, "finished") for job in done})

    config.output = str(tmp_path / "another machine")
    second = Table13(config)
    assert [job.name for job in second.jobs({}).jobs] == [
        "seed_network",
        "seed-1/search-from-seed",
        "seed-1/row-1",
        "seed-1/row-4",
    ]
    assert "| (4) | Remap → ArchAdapt → RandInit → ParamAdapt | 0.0 | 75.0 | +25.0 |" in second.markdown(
        second.gather({})
    )
    config.seeds = [0]
    assert not Table13(config).jobs({}).jobs
    config.adapt.overrides = [*config.adapt.overrides, "train.steps=7"]
    with pytest.raises(InputError, match=r"pets was made with other settings \(adapt.train.steps=600 there, 7 here\)"):
        Table13(config)
    config.adapt.overrides[-1] = "project.remap.noise=0.01"
    with pytest.raises(InputError, match=r"adapt\.project\.remap\.noise=absent there, 0\.01 here"):
        Table13(config)


@pytest.mark.parametrize("name", ["pets", "bccd", "lsp"])
def test_rows_that_are_kept_are_those_of_the_configs(name):
    Table13(load_table(PETS.with_name(f"{name}_imagenet.yaml"), ["data=/data"]))


def test_a_seed_network_of_ones_own_is_told_by_its_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = settings(load_table(PETS, ["data=/data", f"trained_seed={tmp_path}"]))
    (tmp_path / "model.safetensors").write_bytes(b"others")
    other = settings(load_table(PETS, ["data=/data", f"trained_seed={tmp_path}"]))
    assert found["search.project.seed"] != other["search.project.seed"]
    assert "search.project.seed" not in settings(load_table(PETS, ["data=/data"]))


def test_a_metric_that_there_is_not_ends_no_other_row(tmp_path):
    config = load_table(PETS, ["data=/data", "rows=[1]", "seeds=[0]", "adapt.metric=mIou"])
    row = plan(config, tmp_path)[-1]
    row.folder.mkdir(parents=True)
    (row.folder / FINAL_METRICS).write_text(json.dumps({"metrics": {"mIoU": 0.5, "pets/iou": 0.4}}))
    results = gather(config, tmp_path, {row.name: Outcome(row, "finished")})
    assert results["failed"] == {"seed-0/row-1": "adapt.metric=mIou is none of mIoU"}
    assert "1 of 1 runs have no score yet.\n- seed-0/row-1: adapt.metric=mIou" in markdown(results)


def test_the_table_has_mean_and_spread():
    scores = {1: (0.70, 0.74), 4: (0.60, 0.66)}
    runs = [
        {"row": row, "seed": seed, "score": score, "backbone_macs": 2e6, "search_seconds": 100, "adapt_seconds": 200}
        for row, values in scores.items()
        for seed, score in enumerate(values)
    ]
    page = markdown({"name": "pets", "metric": "mIoU", "seed_network_seconds": 50.4, "runs": runs, "failed": {}})
    assert (
        "| (1) | Remap → ArchAdapt → RemapSuper → ParamAdapt (FNA++) | 2.0 ± 0.0 | 72.0 ± 2.8 | - | 100 ± 0 |" in page
    )
    assert "| 63.0 ± 4.2 | -9.0 ± 1.4 | 100 ± 0 | 200 ± 0 | 2 |" in page
    assert "Nothing is missing." in page
    assert "trained once, in 50 s" in page
    runs[1]["score"] = None
    page = markdown(
        {
            "name": "pets",
            "metric": "mIoU",
            "seed_network_seconds": None,
            "runs": runs,
            "failed": {"seed-1/row-1": "no disk"},
        }
    )
    assert "1 of 4 runs have no score yet.\n- seed-1/row-1: no disk" in page
    assert "| 63.0 ± 4.2 | -10.0 | " in page, "only seeds that both rows have are compared"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rows=[1,6]", r"rows=\[1, 6\]: choose from 1, 2, 3, 4, 5"),
        ("seeds=[]", r"seeds=\[\]: give at least one"),
        ("sedes=[1]", "sedes"),
        ("adapt.config=nothing.yaml", r"config nothing\.yaml: there is no such file"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        plan(load_table(PETS, ["data=/data", override]), tmp_path)


@pytest.mark.slow
@ON_REQUEST
def test_a_table_is_run_and_not_run_again(tmp_path, capsys):
    """From the seed network to the table, with a few iterations on shapes."""
    shapes = {"shapes": {"num_images": 16, "num_val_images": 4, "size": 64}, "short_side": 64, "crop": 64}
    shared = {
        "defaults": ["/fbnetv5/schema", "_self_"],
        "data": shapes,
        "train": {"steps": 2, "batch_size": 4},
        "optimizer": {"lr": 0.01},
        "evaluate": {"num_drawn": 0, "write_predictions": False},
        "runtime": {"device": "cpu", "workers": 0, "log_every": 1},
    }
    deeplab = {"head": {"_target_": "fbnetv5.projects.fna.heads.deeplab.DeepLabV3", "hidden_channels": 8, "rates": [1]}}
    classifier = {"_target_": "fbnetv5.heads.classifier.Classifier", "hidden_channels": 8}
    network = {"_target_": "fbnetv5.projects.fna.network.FNANetwork", "architecture": "mobilenetv2_035"}
    files = {
        "seed": {"job": "train", "model": {"network": network, "head": classifier}},
        "search": {
            "job": "fbnetv5.projects.fna.search.run",
            "model": deeplab,
            "project": {"space": "mobilenetv2_035_seg"},
        },
        "adapt": {"job": "fbnetv5.projects.fna.adapt.run", "model": deeplab},
    }
    for name, keys in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**shared, "name": name, **keys}))
    table = {
        "name": "shapes",
        "output": str(tmp_path / "table"),
        "seeds": [0],
        "rows": [1, 3],
        "seed_network": {"config": str(tmp_path / "seed.yaml")},
        "search": {"config": str(tmp_path / "search.yaml")},
        "adapt": {"config": str(tmp_path / "adapt.yaml"), "metric": "mIoU"},
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    main([f"--config={tmp_path / 'table.yaml'}"])
    printed = capsys.readouterr().out
    assert "5 runs, 1 at a time" in printed
    assert "[5 of 5] seed-0/row-3: " in printed
    results = json.loads((tmp_path / "table" / "table13.json").read_text())
    assert results["failed"] == {}
    assert [run["row"] for run in results["runs"]] == [1, 3]
    assert all(run["score"] is not None and run["search_seconds"] > 0 for run in results["runs"])
    with pytest.raises(SystemExit):
        main([f"--config={tmp_path / 'table.yaml'}"])
    main([f"--config={tmp_path / 'table.yaml'}", "--resume"])
    assert "[5 of 5] seed-0/row-3: finished already" in capsys.readouterr().out
