"""What docs/_ext adds to Sphinx, where it is installed: names, formulas, diagrams, commands, options."""

import dataclasses
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_type_hints

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("numpydoc")
pytest.importorskip("ziamath")

import pycryo
from pycryo.cli.main import COMMANDS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "_ext"))
from pycryo_docs import commands, formulas, names, options, restructured


@pytest.mark.parametrize(
    "name, value",
    [
        ("pycryo.fsc", pycryo.fsc),
        ("pycryo.maps.fsc.fsc", pycryo.fsc),
        ("pycryo.Map.box", pycryo.Map.box),
        ("pycryo.fcs", None),
        ("pycryo.maps.fsc.fcs", None),
        ("no.such.module", None),
    ],
)
def test_found(name, value):
    assert names.found(name) is value


def test_fields_without_default_are_found():
    assert names.found("pycryo.RefineOptions.seed") is not None
    assert names.found("pycryo.maps.density.Map.pixel_size") is not None


@pytest.mark.parametrize(
    "line, plain",
    [
        ("|k| < r", r"\|k\| < r"),
        ("``|k|`` and `a`", "``|k|`` and `a`"),
        ("|`contrast`| > 1", r"\|\ `contrast`\ \| > 1"),
        ("(docs/method.md, Frame)", "(:doc:`docs/method.md </method>`, Frame)"),
        ("docs/guides/emdb.md", ":doc:`docs/guides/emdb.md </guides/emdb>`"),
    ],
)
def test_docstrings_are_read_plain(line, plain):
    lines = [line]
    names.read_plain(None, "function", "f", None, None, lines)
    assert lines == [plain]


def test_constructors_are_shown_of_what_users_make():
    def signature(name):
        return names.sign(None, "class", name, names.found(name), None, "(...)", None)

    assert signature("pycryo.Map") is None
    assert signature("pycryo.PostprocessOptions") is None
    assert signature("pycryo.kernels.Entries") is None
    assert signature("pycryo.Result") == ("", None)
    assert signature("pycryo.RefineOptions") == ("", None)  # its fields are told one by one


def test_formulas():
    inline, block = (formulas.drawn(r"\frac{a_k}{b}", is_inline=each) for each in (True, False))
    assert inline.startswith("<svg")
    assert "vertical-align:-" in inline
    assert "vertical-align" not in block
    for wrong in (r"\frac{a}", r"\nosuchthing{a}", r"\left( a"):
        with pytest.raises(ValueError, match=r"\w"):
            formulas.drawn(wrong, is_inline=True)


@pytest.mark.skipif(find_spec("mmdr") is None, reason="mmdr is not installed")
def test_diagrams_have_ids_of_their_own():
    # In a process of its own: mmdr complains at the end of one whose garbage is frozen (pycryo.cli.main).
    script = "import sys; from pycryo_docs.diagrams import drawn; print(*map(drawn, sys.argv[1:]), sep='|END|')"
    words = [sys.executable, "-c", script, "flowchart TB; a --> b", "flowchart TB; a --> c"]
    path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    drawn = subprocess.run(words, env=path, capture_output=True, text=True, check=True).stdout.split("|END|")
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in drawn]
    assert all(ids)
    assert not ids[0] & ids[1]
    for svg, known in zip(drawn, ids, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_told(name):
    parser = commands.sub_parser(name)
    assert parser.prog == f"pycryo {name}"
    for action in parser._actions:
        assert commands.spelling(action, parser)
        assert "%(" not in commands.meaning(action, parser)


def test_defaults_of_commands():
    parser = commands.sub_parser("watch")
    told = {action.dest: commands.meaning(action, parser) for action in parser._actions}
    assert told["interval"] == "seconds between looks (default: 2)"
    assert "default" not in told["once"]


def test_options_that_are_on_tell_what_off_means():
    fields = {field.name: field for field in dataclasses.fields(pycryo.RefineOptions)}
    assert options.said(fields["ctf"]) == "False: do not apply a contrast transfer function"
    assert options.said(fields["ewald"]).startswith("the final iteration")


def test_types_of_options():
    hints = get_type_hints(pycryo.RefineOptions)
    assert options.kind(hints["diameter"]) == "float | None"
    assert options.kind(hints["model"]) == "'slab' | 'sharded' | 'replicated'"
    assert options.kind(hints["slices"]).endswith(" | None")


def test_plain():
    assert restructured.plain("a_b |k| *c `d` \\") == r"a\_b \|k\| \*c \`d\` \\"
