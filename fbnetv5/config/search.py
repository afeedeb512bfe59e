"""Keys of a search, ``search``, and of what it looks at when its supernet is trained, ``search.last_look``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fbnetv5.base.limits import MAX_IMAGES
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.option import option


@dataclass
class LastLookConfig:
    """Scoring architectures when the supernet is trained, to derive topologies from what their blocks are worth."""

    candidates: int = option(
        256,
        "architectures that are scored for all tasks; 0: none, and the likeliest topologies are derived, as in the "
        "paper",
        minimum=0,
    )
    images: int = option(
        256,
        "training images of each task that weights do not learn from and scores are taken on, half for candidates, "
        "half for finalists; at most a quarter of those labelled for it",
        minimum=2,
    )
    finalists: int = option(10, "best architectures of each task that are scored again, on other images", minimum=1)
    neighbours: bool = option(
        True,
        "score, on all of these images, what differs from the topology to derive in one block, and take what is better "
        "by more than its standard error; that of blocks is then what these images leave open",
    )
    family: int = option(
        8,
        "budgets, from the trunk alone to the best topology, under each of which a task's family has what scores best; "
        "0: no families",
        minimum=0,
    )
    joint_budget: float | None = option(
        None,
        "what the blocks of all tasks cost together at most in joint.yaml, the topologies of one network for all "
        "tasks, in the unit of search.cost; null: what the derived topologies cost",
        minimum=0,
    )
    joint_weights: dict[str, float] = option(dict, "how much a task counts in joint.yaml; 1 if not given")


@dataclass
class SearchConfig:
    """The search."""

    steps: int | None = option(None, "iterations of the search or pretraining; give this or epochs", minimum=1)
    epochs: float | None = option(None, "passes over the training images; or steps", minimum=0, maximum=10**6)
    batch_size: int = option(768, "images an iteration, over all processes", minimum=1, maximum=MAX_IMAGES)
    num_samples: int = option(
        16,
        "architectures an iteration, over all processes; each sees batch_size / num_samples images",
        minimum=1,
    )
    group: int = option(
        1,
        "architectures that see the same images, and are compared on them; an iteration then has batch_size / group "
        "distinct images. 1: each sees its own, as in the paper",
        minimum=1,
    )
    compare: str = option(
        "score",
        "architectures are compared by the score of a task whose loss misleads, detection's, on boxes that are the "
        "same for all of them; or by the loss of every task, as in the paper",
        choices=("loss", "score"),
    )
    arch_start: float = option(
        0.4, "warm-up: the probabilities stand still over this share of the run", minimum=0, maximum=1
    )
    arch_lr: float = option(0.2, "rate of the architecture logits", minimum=0)
    arch_schedule: str = option(
        "constant",
        "how the rate of the logits changes after the warm-up: constant, or as that of the weights (weights), as in "
        "the paper",
        choices=("constant", "weights"),
    )
    algorithm: dict[str, Any] = option(
        lambda: {"_target_": "fbnetv5.search.algorithms.MultitaskReinforce"},
        "{_target_: class, its options}: the search method; --help lists those there are, and their options",
    )
    extend: str | None = option(
        None, "folder of a finished search that the tasks are added to; its supernet and its tasks stay as they are"
    )
    task_weights: dict[str, float] = option(
        dict, "weight of a task's loss on the shared weights and its search head; 1 if not given, 0 for a trained one"
    )
    cost: str = option(
        "macs",
        "what a block costs: macs, params, or latency on a device; see docs/COST.md",
        choices=("macs", "params", "latency"),
    )
    latency: LatencyConfig = option(LatencyConfig, "how latency is measured")
    last_look: LastLookConfig = option(LastLookConfig, "scores of architectures when the supernet is trained")
    budget: float | None = option(
        None,
        "derive the best topology whose blocks cost at most this, without the trunk, in the unit of search.cost: "
        "MACs, parameters or milliseconds",
        minimum=0,
    )
    budget_share: float | None = option(
        None,
        "where budget is null: the same as a share of what all blocks cost, whatever the unit; 0.5: half",
        minimum=0.01,
        maximum=1,
    )
