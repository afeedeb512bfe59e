"""Files by URI: from a server of this machine, from the hub's stand-in, and from a handler of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import cached_copy, is_uri, local_folder, local_path, path_manager
from tests.stores import open_store, serving


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fbnetv5" / "files"


@pytest.fixture
def server(tmp_path, cache) -> Iterator[str]:
    (tmp_path / "served" / "models").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (tmp_path / "served" / "models" / name).write_text(name)
    with serving(tmp_path / "served") as address:
        yield address


@pytest.fixture
def store(tmp_path) -> Path:
    """What ``store://`` names."""
    return open_store(tmp_path / "store")


def test_paths_are_what_they_are(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_path("~/a.txt") == Path("/home/ada/a.txt")
    assert local_path("a//b.txt") == local_path(Path("a/b.txt")) == local_folder("a/b.txt", ["c"]) == Path("a/b.txt")
    assert [is_uri(place) for place in ("hf://a/b", "https://x", "s3://x/y", "a:b", "c:/x", Path("http://x"))] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_a_file_on_the_web_is_downloaded_once(server, cache, tmp_path, capsys):
    first = local_path(f"{server}/models/a.txt")
    assert first.read_text() == "a.txt"
    assert first.is_relative_to(cache)
    assert "downloading http" in capsys.readouterr().err
    (tmp_path / "served" / "models" / "a.txt").write_text("changed")
    assert local_path(f"{server}/models/a.txt").read_text() == "a.txt"
    assert capsys.readouterr().err == ""
    assert path_manager.open(f"{server}/models/a.txt").read() == "a.txt"
    first.unlink()
    assert local_path(f"{server}/models/a.txt").read_text() == "changed"


def test_neighbours_on_the_web_are_neighbours_here(server):
    folder = local_folder(f"{server}/models/", ["a.txt", "b.txt"])
    assert (folder / "b.txt").read_text() == "b.txt"


def test_copies_do_not_mix(cache):
    places = [
        cached_copy(uri)
        for uri in (
            "https://a.org/m/w.pth",
            "https://b.org/m/w.pth",
            "https://a.org/m/w.pth?v=1",
            "https://a.org/w.pth",
        )
    ]
    assert len(set(places)) == 4
    assert all(place.name == "w.pth" and place.is_relative_to(cache) for place in places)
    assert cached_copy("https://user:word@a.org/m/w.pth") == places[0]
    assert cached_copy("https://a.org/%2e%2e/%2e%2e/../w.pth").is_relative_to(cache / "a.org")
    with pytest.raises(InputError, match="names no file"):
        cached_copy("https://a.org/models/")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{server}/models/none.txt", r"none.txt cannot be had: HTTP Error 404.*; or give a file on this machine"),
        ("{server}/cut", "cannot be had: it broke off .*start again"),
        ("http://127.0.0.1:9/a.txt", "a.txt cannot be had: .*refused; or give a file"),
        ("http://no.such.host.invalid/a.txt", "a.txt cannot be had: .*; or give a file"),
        ("nowhere://a.txt", "nothing knows nowhere://; .*register_handler adds what does"),
        ("store://none", r"store://none cannot be had: no object store://none; or give"),
        ("hf://name", "a model on the hub is hf://owner/name"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(server, cache, store, place, said):
    with pytest.raises(InputError, match=said) as caught:
        local_path(place.format(server=server))
    assert "\n" not in str(caught.value)
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_handlers_of_ones_own_give_files_and_folders(store):
    (store / "data").mkdir()
    assert local_path("store://data") == local_folder("store://data", ["a"]) == store / "data"


def test_the_hub_gives_data_alone(monkeypatch, tmp_path):
    calls: list[dict[str, Any]] = []

    def fetch(**given: Any) -> str:
        calls.append(given)
        return str(tmp_path)

    stand_in = SimpleNamespace(snapshot_download=fetch, hf_hub_download=fetch)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    assert local_path("hf://owner/na-me.2") == local_path("hf://owner/name@v1/sub/w.safetensors") == tmp_path
    assert [(call["repo_id"], call["revision"], call.get("filename")) for call in calls] == [
        ("owner/na-me.2", None, None),
        ("owner/name", "v1", "sub/w.safetensors"),
    ]
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py", "*")) for pattern in calls[0]["allow_patterns"])


def test_without_the_hubs_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"hf://a/b needs huggingface_hub, which is not installed: pip install .*hub"):
        local_path("hf://a/b")
