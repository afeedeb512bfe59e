"""Documents that nobody should have to wait for, or be misled by."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import parse_json, parse_yaml, read_document, read_text, shortened
from fbnetv5.base.errors import InputError
from fbnetv5.base.limits import MAX_DOCUMENT

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' stands a second time in line 3"),
        ("a: {b: 1, b: 1}", "the key 'b' stands a second time in line 1"),
        (BOMB, "aliases multiply"),
        ("a: &a [*a]", "aliases multiply"),
        ("[" * 5000 + "]" * 5000, "nests too deep"),
        ("a: [", "is not YAML: .* in line 1, column 5"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_yaml_that_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_aliases_that_do_not_multiply_are_read():
    assert parse_yaml("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("{1: a, '1': b}") == {1: "a", "1": "b"}
    assert parse_yaml("") is None


@pytest.mark.parametrize(("text", "message"), [("[" * 10**5, "nests too deep"), ('{"a": ]}', "line 1, column 7")])
def test_json_that_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_text(tmp_path / "pipe")


def test_a_large_file_is_not_read(tmp_path: Path):
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(10 * MAX_DOCUMENT)
    with pytest.raises(InputError, match="too many"):
        read_document(tmp_path / "large.yaml", "topology", lambda document: document)


def test_messages_do_not_quote_what_a_file_holds(tmp_path: Path):
    secret = "root:x:0:0:root:/root"
    for text in (secret, f"- {secret}\n", f"'{secret}", f"{secret}\n\tx: y"):
        (tmp_path / "file").write_text(text)
        with pytest.raises(InputError) as caught:
            Topology.load(tmp_path / "file")
        assert "0:0" not in str(caught.value)


@pytest.mark.parametrize("stages", [10**5, 10**9, 101])
def test_a_topology_of_too_many_stages_is_refused_at_once(tmp_path: Path, stages: int):
    (tmp_path / "deep.yaml").write_text(f"num_stages: {stages}\npaths: {{0: [1, {stages}]}}\n")
    started = time.monotonic()
    with pytest.raises(InputError, match=re.escape(f"num_stages is {stages}; there may be at most 100")):
        Topology.load(tmp_path / "deep.yaml")
    assert time.monotonic() - started < 0.5


def test_a_topology_names_a_path_once(tmp_path: Path):
    (tmp_path / "twice.yaml").write_text("num_stages: 3\npaths: {0: [1], 0: [2]}\n")
    with pytest.raises(InputError, match=r"twice\.yaml: the key '0' stands a second time"):
        Topology.load(tmp_path / "twice.yaml")


def test_long_values_are_cut():
    assert shortened("x" * 100) == "x" * 60 + "..."
    assert shortened("a\nb") == "a b"
