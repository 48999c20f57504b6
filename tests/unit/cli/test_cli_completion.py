"""Scripts with which shells complete pycryo's command lines, tried in the shells."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pycryo.cli.commands.completion import SHELLS, file_patterns
from pycryo.cli.main import COMMANDS, main

# Asks the script's function as bash does: the words of the line, the last of which is being written.
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_pycryo 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the scripts and some files."""
    path = tmp_path_factory.mktemp("completion")
    code = f"""
import sys
from pycryo.cli.main import main
for shell in {SHELLS}:
    sys.stdout = open(shell, "w", encoding="utf-8")
    main(["completion", shell])
"""
    subprocess.run([sys.executable, "-c", code], cwd=path, check=True)
    for name in ("ref.mrc", "notes.txt", "particles.star"):
        (path / name).touch()
    (path / "run").mkdir()
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    "line, offered",
    [
        ("refin", "refine"),
        ("refine --sym", "--sym --symmetry"),
        ("refine --model ", "replicated sharded slab"),
        ("refine ", "particles.star run"),
        ("refine particles.star --ref ", "ref.mrc run"),
        ("refine particles.star --out ", "run"),
        ("completion z", "zsh"),
    ],
)
def test_bash_completes(folder, line, offered):
    words = ["bash", "--norc", "-c", ASK, "bash", "./bash", "pycryo", *line.split(" ")]
    found = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout
    assert sorted(found.split()) == offered.split()


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_completes(folder):
    code = "source fish; complete -C 'pycryo refin'; complete -C 'pycryo refine particles.star --ref '"
    found = subprocess.run(["fish", "-c", code], cwd=folder, check=True, capture_output=True, text=True).stdout
    names = [line.partition("\t")[0] for line in found.split("\n") if line]
    assert names == ["refine", "ref.mrc", "run/"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_the_script(folder):
    subprocess.run(["zsh", "-f", "-n", "zsh"], cwd=folder, check=True)
    assert (folder / "zsh").read_text(encoding="utf-8").startswith("#compdef pycryo\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_have_all_commands(folder, shell):
    text = (folder / shell).read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if name not in text]


@pytest.mark.parametrize(
    "words, patterns",
    [
        ({"metavar": "REF.mrc"}, ("*.mrc",)),
        ({"metavar": "RUN|PARTICLES.star"}, ("*.star",)),
        ({"metavar": "MAP.mrc | RUN | P.star"}, ("*.mrc", "*.star")),
        ({"metavar": "MRC"}, ("*.mrc",)),
        ({"metavar": "DIR"}, ()),
        ({"metavar": ("HALF1", "HALF2"), "nargs": 2, "type": Path}, ()),
        ({"metavar": "GROUP"}, None),
        ({"type": float}, None),
    ],
)
def test_metavars_tell_the_files(words, patterns):
    assert file_patterns(argparse.ArgumentParser().add_argument("--option", **words)) == patterns


def test_help_says_where_the_scripts_go(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["completion", "--help"])
    told = capsys.readouterr().out
    assert not [shell for shell in SHELLS if f"pycryo completion {shell} > ~/." not in told]


def test_unknown_shell(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
