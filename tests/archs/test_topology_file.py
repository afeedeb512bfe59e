from __future__ import annotations

import re

import pytest
import yaml

from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.errors import InputError


@pytest.mark.parametrize("seed", range(20))
def test_what_is_saved_is_loaded(seed, random_topology, tmp_path):
    topology = random_topology(seed, 7)
    topology.save(tmp_path / "topology.yaml", info={"task": "cls", "macs": 10, "probabilities": [0.5, 0.25]})
    assert Topology.load(tmp_path / "topology.yaml") == topology


def test_the_file_reads_path_by_path(tmp_path):
    path = tmp_path / "topology.yaml"
    named_topology("panet", 7).save(path, info={"task": "seg"})
    assert path.read_text().splitlines()[1:] == [
        "num_stages: 7",
        "paths:",
        "  0: [4]",
        "  1: [3, 5]",
        "  2: [2, 6]",
        "  3: [1, 7]",
        "outputs: [0, 1, 2, 3]",
        "info: {task: seg}",
    ]


def test_a_person_may_leave_out_empty_paths_and_outputs(tmp_path):
    path = tmp_path / "topology.yaml"
    path.write_text("num_stages: 3\npaths: {1: [2]}\n")
    assert Topology.load(path) == Topology(3, frozenset({(2, 1)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("num_stages: 3\npaths: {}\noutput: [1]", "unknown key 'output'"),
        ("num_stages: 3\npath: {}", "unknown key 'path'"),
        ("paths: {}", "the key 'num_stages'"),
        ("num_stages: 3", "the key 'paths' is missing"),
        ("num_stages: 3\npaths: {2: [1, 4]}", "path 2: stage 4"),
        ("num_stages: 3\npaths: {2: [0]}", "path 2: stage 0"),
        ("num_stages: 3\npaths: {4: []}", "path 4"),
        ("num_stages: 3\npaths: {-1: [1]}", "path -1"),
        ("num_stages: 3\npaths: {1: [1]}\noutputs: [0, 5]", "outputs [0, 5]"),
        ("num_stages: 3\npaths: {1: [1]}\noutputs: 3", "outputs: expected a list of integers, got 3"),
        ("num_stages: '3'\npaths: {}", "num_stages"),
        ("num_stages: true\npaths: {}", "num_stages"),
        ("num_stages: 3\npaths: [1, 2]", "paths: expected a mapping from paths (integers) to stages, got [1, 2]"),
        ("num_stages: 3\npaths: {a: [1]}", "paths: expected a mapping from paths (integers) to stages"),
        ("num_stages: 3\npaths: {1: 2}", "paths, 1"),
        ("num_stages: 3\npaths: {1: [2.5]}", "paths, 1"),
        ("num_stages: 3\npaths: {1: [2, 2]}", "paths, 1: [2, 2]"),
        ("- 1\n- 2", "expected a mapping with the keys num_stages, paths"),
        ("", "expected a mapping with the keys num_stages, paths"),
        ("num_stages: [3", "is not YAML"),
        ("num_stages: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "topology.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Topology.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read topology .*none\.yaml: No such file"):
        Topology.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot read topology"):
        Topology.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        Topology.load(tmp_path / "binary.yaml")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "topology.yaml"
    Topology.full(1).save(path)
    with pytest.raises(yaml.YAMLError):
        Topology.full(2).save(path, info={"not": object()})
    assert Topology.load(path) == Topology.full(1)
