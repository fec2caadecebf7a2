"""What is published of a value: names, never places."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_bench.store.paths import is_local_path, strip_local_paths


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/home/me/model", "model"),
        ("/home/me/models/", "models"),
        ("~/model", "model"),
        ("~me/größe 1.csv", "größe 1.csv"),
        ("~", "~"),
        ("./data.csv", "data.csv"),
        ("../../data.csv", "data.csv"),
        ("../..", "."),
        ("/", "/"),
        ("file:///home/me/x.csv", "x.csv"),
        (r"C:\Users\me\x.csv", "x.csv"),
        (r"\\share\me\x.csv", "x.csv"),
        ("C:/Users/me/x.csv", "x.csv"),
        ("here/x.csv", "x.csv"),
    ],
)
def test_paths_are_cut_to_their_last_part(tmp_path, monkeypatch, path, last):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x.csv").touch()
    assert is_local_path(path) and strip_local_paths(path) == last
    assert strip_local_paths({path: [path, {"a": path}]}) == {last: [last, {"a": last}]}


@pytest.mark.parametrize(
    "name", ["org/model", "x.csv", "", "a\\b", "two\nlines", "~5 words", "s3://bucket/x", 3, None, "."]
)
def test_names_stay(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert not is_local_path(name) and strip_local_paths(name) == name


def test_a_users_home_is_no_name():
    user = f"~{getpass.getuser()}"
    assert not is_local_path(user) or strip_local_paths(user) == "~"


def test_keys_that_become_equal_are_kept_apart():
    assert strip_local_paths({"/a/x": 1, "/b/x": 2, "x": 3}) == {"x": 1, "(2) x": 2, "(3) x": 3}


PARTS = st.text(st.characters(exclude_characters="/\\\0\n", exclude_categories=("Cs",)), min_size=1).filter(
    lambda part: part not in (".", "..") and not part.startswith("~")
)
ROOTS = st.sampled_from(
    ["/", "~/", "~me/", "./", "../", "file:///", "C:\\", "C:/", "\\\\", f"{Path.home()}/", f"{os.getcwd()}/"]
)
JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.builds(str.__add__, ROOTS, st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | ROOTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(ROOTS, st.lists(PARTS, max_size=4), PARTS)
def test_no_folder_of_a_path_is_published(root, folders, name):
    separator = "\\" if "\\" in root else "/"
    path = root + separator.join([*folders, name])
    assert strip_local_paths(path) == name
    assert json.dumps(strip_local_paths({"model": [path], path: 1})) == json.dumps({"model": [name], name: 1})


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_what_was_cut_stays_as_it_is(value):
    """A record is composed and cut again for a rerun, and compared with itself."""
    once = strip_local_paths(value)
    assert strip_local_paths(once) == once
    assert str(Path.home()) + "/" not in json.dumps(once) or str(Path.home()) + "/" in json.dumps(value)
