"""Search: a pretrained network, a space and a task become an architecture, in one small file (FNA++, Sec. 3.2)."""

from __future__ import annotations

from pathlib import Path

from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.engine.world import world_of
from fbnetv5.projects.fna.methods import Method, write_result
from fbnetv5.projects.fna.problem import build_problem
from fbnetv5.report.html import try_report


def run(config: RunConfig, folder: Path) -> None:
    """Search the architecture of a backbone for the task of ``model.head``.

    ``project`` has the keys of :class:`~fbnetv5.projects.fna.options.SearchOptions`; ``train`` and ``optimizer`` say
    how weights are trained, and an epoch is a pass over the images that the weights learn from.

    Writes to ``folder``: config.yaml, what the method logs, and architecture.yaml and .png; the differentiable search
    also the super network's model.safetensors, which a parameter adaptation can start from.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        problem = build_problem(config, world)
        method: Method = build_target("project.method", problem.options.method)
        require_members("project.method", problem.options.method, method, ("find",), "search method")
        found = method.find(problem, folder)
        if world.is_main:
            write_result(problem, found, folder)
            try_report(folder)
