"""The tables from what is kept: scores of unequal numbers of trainings, fitted, and the rows that they give."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.published import gather, markdown, read_found
from fbnetv5.projects.table5.tests.test_truth import load
from fbnetv5.projects.table5.truth_table import Row, judged, training_deviation

SEEDS = (0.02, -0.02, 0.0)  # what each seed gives to all topologies


def rows(task: str, scores: dict[str, tuple[float, tuple[int, ...]]]) -> list[Row]:
    """The trainings of topologies: a score, and the seeds that each was trained with."""
    return [
        Row(task, name, 1_000_000, seed, score + SEEDS[seed])
        for name, (score, seeds) in scores.items()
        for seed in seeds
    ]


def test_what_a_seed_gives_to_all_is_no_merit_of_those_trained_with_it_alone():
    found = judged(rows("cls", {"a": (0.5, (0, 1, 2)), "b": (0.6, (0,)), "c": (0.4, (1, 2))}), "cls")
    assert {name: one.trainings for name, one in found.items()} == {"a": 3, "b": 1, "c": 2}
    assert [one.score for one in found.values()] == pytest.approx([0.5, 0.6, 0.4])
    assert judged(rows("seg", {"a": (0.5, (0, 1, 2))}), "seg")["a"].score == pytest.approx(0.5)  # the mean of its own


def test_the_deviation_of_a_training_is_what_topology_and_seed_leave():
    own = rows("cls", {"a": (0.5, (0, 1)), "b": (0.6, (0, 1)), "c": (0.4, (0,))})
    assert training_deviation(own, "cls") == pytest.approx(0, abs=1e-9)
    own[0] = Row(
        "cls", "a", 1_000_000, 0, own[0].score + 0.04
    )  # four residuals of 0.01 then, and one degree of freedom
    assert training_deviation(own, "cls") == pytest.approx(0.02)
    assert training_deviation(own[-1:], "cls") is None


def test_the_tables_need_no_folder_of_a_search(tmp_path):
    truth = load(tmp_path)
    drawn = {task: [one.name for one in truth.plan.drawn[task]] for task in truth.plan.tasks}
    truth.before = [
        row
        for task in truth.plan.tasks
        for row in rows(
            task,
            {drawn[task][0]: (0.5, (0, 1)), drawn[task][1]: (0.6, (0,)), "x": (0.7, (0,)), "unet": (0.65, (0, 1))},
        )
    ]
    lines = [
        f"{seed},multitask,{task},{under},1,x,1000000" for seed in (0, 1) for task in drawn for under in ("", "unet")
    ]
    file = tmp_path / "found.csv"
    file.write_text("\n".join(["seed,method,task,under,place,topology,macs", *lines]) + "\n")
    page = markdown(truth, gather(truth, read_found(file)))
    assert "| cls | top1 | Multitask (Alg. 4) | 70.0 ± 0.0 | 55.0 ± 7.1 (2) | +15.0 | - | 100 | 2 | 1 of 2 |" in page
    assert "| 70.0 ± 0.0 | +5.0 | 2 |" in page
    assert "| seg | 1 to 1, 1.0 | 1 to 2, 1.5 | 2 to 2, 2.0 | 0.00 |" in page

    file.write_text(file.read_text().replace(",x,", ",y,"))
    with pytest.raises(InputError, match=r"cls/y was found, but .* has no training of it"):
        gather(truth, read_found(file))
    with pytest.raises(InputError, match="nothing was found yet"):
        gather(truth, [])
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"found\.csv is no table of seed, method"):
        read_found(file)
