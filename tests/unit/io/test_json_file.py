"""JSON files: what is written is what comes back, as far as JSON has it."""

import json
import os

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.io.json_file import check_kinds, fitting, read_object, write_object


def test_only_what_json_has_is_written(tmp_path):
    value = {"a": np.float32(1.5), "b": (np.int64(2), float("inf")), "c": np.array([np.nan, 1]), "d": True, 3: None}
    write_object(tmp_path / "a.json", value)
    expected = {"a": 1.5, "b": [2, None], "c": [None, 1], "d": True, "3": None}
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == expected
    assert read_object(tmp_path / "a.json", "") == expected


def test_a_path_that_is_no_utf_8_comes_back(tmp_path):
    name = os.fsdecode(b"/data/\xe4\xff.star")
    write_object(tmp_path / "a.json", {"particles": name, "unit": "Å"})
    assert read_object(tmp_path / "a.json", "") == {"particles": name, "unit": "Å"}


@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(InputError, match=r"a\.json .*; do so"):
        read_object(tmp_path / "a.json", "do so")


def test_what_does_not_fit_is_an_input_error(tmp_path):
    with (
        pytest.raises(InputError, match=r"not as pycryo writes it \(KeyError: 'b'\); do so"),
        fitting("a.json", "do so"),
    ):
        {"a": 1}["b"]
    with pytest.raises(InputError, match="own words"), fitting("a.json", "do so"):
        raise InputError("own words")


def test_kinds_of_values():
    kinds = {"box": int, "size": (int, float)}
    check_kinds({"box": 3, "size": 2.5, "more": None}, kinds)
    check_kinds({"size": None}, kinds, may_lack=True)
    with pytest.raises(TypeError, match=r"box is '3\.5'"):
        check_kinds({"box": 3.5, "size": 1}, kinds, may_lack=True)
    with pytest.raises(TypeError, match="size is 'None'"):
        check_kinds({"box": 3, "size": None}, kinds)
    with pytest.raises(KeyError, match="size"):
        check_kinds({"box": 3}, kinds)
