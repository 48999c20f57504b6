"""What the users' pages, batch files and container files name is there: commands, options, messages, files, extras."""

import ast
import re
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pycryo.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BATCH_FILES = sorted((ROOT / "examples" / "slurm").glob("*.sbatch"))
DOCKERFILE, DEFINITION = ROOT / "containers" / "Dockerfile", ROOT / "containers" / "pycryo.def"
# Slurm's options that the batch files use, with what they may be worth.
DIRECTIVES = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "exclusive": None,
    "mem": r"\d+[MG]?",
    "mem-per-cpu": r"\d+[MG]",
    "time": r"\d\d:\d\d:\d\d",
    "signal": r"B:TERM@\d+",
    "requeue": None,
    "open-mode": "append",
    "array": r"\d+-\d+",
}
# Parts of messages that are the system's.
OF_THE_SYSTEM = {"No such file or directory", "no space left", "oom-kill"}


def shell_lines(text):
    """Lines of shell text, continued ones joined."""
    return re.sub(r"\\\n\s*", " ", text).splitlines()


def pycryo_words(line):
    """Arguments of the `pycryo` that a line calls, variables replaced by numbers; None if it calls none."""
    if not re.search(r"(^|\s|\"|exec )pycryo(-refine)? ", line) or line.lstrip().startswith("#"):
        return None
    line = re.sub(r"\"\$\{\w+\[@\]\}\"", "", line)
    words = shlex.split(re.sub(r"\$\w+|\$\{\w+\}", "2", line).rstrip(" &"), comments=True)
    place = next((k for k, word in enumerate(words) if word in ("pycryo", "pycryo-refine")), None)
    rest = [word for word in words[place + 1 :] if word != "$@"] if place is not None else []
    if not rest or words[0] in ("conda", "docker", "for"):
        return None
    return ["refine", *rest] if words[place] == "pycryo-refine" else rest


def commands(path):
    """Arguments of each pycryo of a page's ```sh blocks, or of a batch file."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if path.suffix == ".md" else [text]
    found = [pycryo_words(line) for block in blocks for line in shell_lines(block)]
    return [words for words in found if words]


CALLS = [(path, words) for path in [*PAGES, *BATCH_FILES] for words in commands(path)]


@pytest.mark.parametrize("path, words", CALLS, ids=[f"{path.name}-{' '.join(words)[:60]}" for path, words in CALLS])
def test_commands_are_those_of_the_program(path, words, capsys):
    """Each command that a page or batch file shows, with all its options."""
    assert words[0] in COMMANDS
    with suppress(SystemExit):
        build_parser(words[0], words[1:]).parse_args(words)
    assert "error" not in capsys.readouterr().err


def test_the_guides_show_the_commands():
    assert len(CALLS) > 80
    shown = {words[0] for _, words in CALLS}
    assert shown >= {
        "import",
        "check",
        "abinitio",
        "refine",
        "watch",
        "report",
        "select",
        "ctf-refine",
        "validate",
        "localres",
    }
    assert shown >= {
        "postprocess",
        "deposit",
        "flip",
        "symmetry",
        "subset",
        "simulate",
        "reconstruct",
        "fsc",
        "mask",
        "info",
    }


def texts_of_program():
    """All text that the package's sources hold, places of values as one blank."""
    found = []
    for path in sorted((ROOT / "pycryo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[\d.]*[sdfg]", "\0", node.value))
    return "\n".join(found)


def messages_of(path):
    """Messages in code at the beginning of the rows of a page's tables of messages."""
    text = path.read_text(encoding="utf-8")
    sections = re.findall(r"^##+ (?:Messages|Warnings|What can go wrong).*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    cells = [cell for section in sections for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)]
    return [message for cell in cells for message in re.findall(r"`([^`]*)`", cell)]


def test_messages_are_those_of_the_program():
    """Each message of the guides, but for names and numbers."""
    messages = [message for path in (ROOT / "docs" / "guides").glob("*.md") for message in messages_of(path)]
    assert len(messages) > 80
    program = texts_of_program()
    missing = [
        (message, part)
        for message in messages
        for part in (each.strip(" ,:;%?()-") for each in re.split(r"\.\.\.|[\d.]*\d|\brun\b|\brln\w+", message))
        if len(part) > 5 and part not in program and part not in OF_THE_SYSTEM
    ]
    assert not missing


@pytest.mark.parametrize("path", BATCH_FILES, ids=lambda path: path.name)
def test_batch_files(path):
    """Bash takes them, Slurm has their options, and each is told of in the guide."""
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n# ")
    head = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len(head) == text.count("#SBATCH") > 3
    for name, value in head:
        assert name in DIRECTIVES
        assert (DIRECTIVES[name] is None) == (value == "")
        assert value == "" or re.fullmatch(DIRECTIVES[name], value)
    assert any("sym" in " ".join(words) for words in commands(path))
    assert path.name in (ROOT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{?([A-Z]+)\b", text)) <= set(re.findall(r"^ *([A-Z]+)=", text, re.MULTILINE)) | {"HOME"}


def catches_sigterm(pid):
    """Whether a process has a handler of SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_batch_file_goes_on_where_there_is_a_state(tmp_path):
    """requeue.sbatch by hand: programs of the names that it calls write down what they are called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "activate").write_text(f'export PATH="{folder}:$PATH"\n')
    for name, then in {"mpiexec": "[ -e slow ] && exec /bin/sleep 60", "scontrol": "", "sleep": ""}.items():
        (folder / name).write_text(f'#!/bin/bash\necho {name} "$@" >> calls\n{then}\nexit 0\n')
        (folder / name).chmod(0o755)
    batch = ROOT / "examples" / "slurm" / "requeue.sbatch"
    about = {
        "VENV": str(tmp_path),
        "SLURM_CPUS_ON_NODE": "32",
        "SLURM_JOB_ID": "7",
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
    }
    subprocess.run(["bash", batch], cwd=tmp_path, env=about, check=True)
    first = "mpiexec -launcher fork -n 8 pycryo refine particles.star --ref ref.mrc --out run --sym D2 --diameter 200"
    calls = tmp_path / "calls"
    assert calls.read_text().splitlines() == [first]
    calls.unlink()

    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint" / "state.h5").touch()
    (tmp_path / "slow").touch()
    with subprocess.Popen(["bash", batch], cwd=tmp_path, env=about, stdout=subprocess.PIPE, text=True) as job:
        while not catches_sigterm(job.pid) or not calls.exists():
            time.sleep(0.01)
        job.send_signal(signal.SIGTERM)
        assert "job 7 is queued again" in job.communicate(timeout=30)[0]
    assert job.returncode == 128 + signal.SIGTERM
    assert calls.read_text().splitlines() == [f"{first} --continue", "scontrol requeue 7", "sleep 60"]


def runs(text):
    """Commands that a container file runs."""
    return [line.removeprefix("RUN ").strip() for line in shell_lines(text) if "&&" in line or " pip install" in line]


def test_container_files():
    """Both files run the same commands, with extras that exist, on a Python that pycryo takes; libraries are there."""
    docker, definition = DOCKERFILE.read_text(encoding="utf-8"), DEFINITION.read_text(encoding="utf-8")
    assert runs(docker) == runs(definition)
    assert len(runs(docker)) == 4
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"'\.\[(\w+)\]'", docker)
    assert extras
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
    base = set(re.findall(r"python:3\.(\d+)-slim", docker + definition))
    assert len(base) == 1
    assert int(base.pop()) >= int(re.search(r'requires-python = ">=3\.(\d+)"', project)[1])
    # What is copied from one stage to the next is where it was made.
    assert "COPY --from=builder /opt/pycryo /opt/pycryo\n" in docker
    for text, name in ((docker, "containers/Dockerfile"), (definition, "containers/pycryo.def")):
        assert name in text.splitlines()[0]
        assert name in (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
