"""What is built, released and run elsewhere: versions from tags, make, workflows, the checks of packages."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pycryo
from pycryo import version

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
needs_workflows = pytest.mark.skipif(not WORKFLOWS, reason="only the repository has the workflows")


def run(*words, cwd):
    """Output of a program."""
    done = subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "written, release",
    [
        ("0.1.0", "0.1.0"),
        ("0.1.1.dev12+g1a2b3c4d", "0.1.1"),
        ("0.1.1.dev12+g1a2b3c4d.d20260101", "0.1.1"),
        ("1.0.0rc1", "1.0.0rc1"),
        (None, "0"),
    ],
)
def test_all_versions_between_two_tags_have_one_release(monkeypatch, written, release):
    """RELEASE is what checkpoints compare; a source tree without a build has a version too."""
    code = (ROOT / "pycryo" / "version.py").read_text(encoding="utf-8")
    made = type(sys)("pycryo._version")
    if written is not None:
        made.__version__ = written
    monkeypatch.setitem(sys.modules, "pycryo._version", made if written else None)
    names = {}
    exec(code, names)
    assert names["RELEASE"] == release
    assert names["__version__"] == (written or "0+unknown")


def test_python_m_pycryo():
    assert run(sys.executable, "-m", "pycryo", "--version", cwd=ROOT) == f"pycryo {pycryo.__version__}"
    assert version.__version__ == pycryo.__version__


def scm_version(folder):
    """The version that a build in a folder would have."""
    return run(sys.executable, "-m", "setuptools_scm", cwd=folder)


def test_versions_come_from_tags(tmp_path):
    """Without git or tags, at a tag, later, in a clone of depth 1 without tags, in archives of git's."""
    pytest.importorskip("setuptools_scm")
    if shutil.which("git") is None:
        pytest.skip("no git")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    assert scm_version(tree) == "0.1.0.dev0"
    # What git fills in where it makes an archive; as in the repository.
    (tree / ".git_archival.txt").write_text("describe-name: $Format:%(describe:tags=true,match=v[0-9]*)$\n")
    (tree / ".gitattributes").write_text(".git_archival.txt export-subst\n")

    def git(*words):
        return run("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *words, cwd=tree)

    def archived(commit):
        git("archive", "--output", str(tmp_path / "archive.tar"), commit)
        shutil.unpack_archive(tmp_path / "archive.tar", tmp_path / commit)
        return scm_version(tmp_path / commit)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    assert re.fullmatch(r"0\.1\.0\.dev\d+\+g[0-9a-f]+", scm_version(tree))
    assert archived("HEAD") == "0.1.0.dev0"
    git("tag", "-a", "v0.2.0", "-m", "0.2.0")
    assert scm_version(tree) == "0.2.0"
    git("commit", "--quiet", "--allow-empty", "-m", "second")
    assert re.fullmatch(r"0\.2\.1\.dev1\+g[0-9a-f]+", scm_version(tree))
    run("git", "clone", "--quiet", "--depth", "1", "--no-tags", tree.as_uri(), tmp_path / "shallow", cwd=tmp_path)
    assert re.fullmatch(r"0\.1\.0\.dev\d+\+g[0-9a-f]+", scm_version(tmp_path / "shallow"))
    assert archived("v0.2.0") == "0.2.0"


def test_addresses_are_of_one_project():
    """An address of the project that moves is found by its beginning."""
    urls = re.search(r"^\[project\.urls\]\n(.*?)\n\n", PYPROJECT, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r'^(\w+) = "https://', urls, re.MULTILINE)) == {
        "Homepage",
        "Documentation",
        "Source",
        "Issues",
        "Changelog",
    }
    source = re.search(r'^Source = "(.*)"', urls, re.MULTILINE)[1]
    assert all(line.split('"')[1].startswith(source) for line in urls.splitlines() if "github.com" in line)


@pytest.fixture
def built(tmp_path):
    """An environment in which all that `make` needs has just been installed."""
    (tmp_path / "wheels").mkdir()
    for name in ("pyvenv.cfg", "wheels/installed"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    "target, changed, builds",
    [
        ("demo", "", False),
        ("test", "", False),
        ("test", "README.md CHANGELOG.md docs/method.md tests/conftest.py bench/paper/figures.py", False),
        ("test", "pycryo/errors.py", True),
        ("test", "bench/kernels/bench_ctf.py", True),
        ("demo", "csrc/kernels/ctf.cpp", True),
        ("demo", "pyproject.toml", True),
    ],
)
def test_make_builds_once_and_after_changes(built, target, changed, builds):
    """Neither a second target nor a change of pages and tests builds anew."""
    words = [f"--what-if={name}" for name in changed.split()]
    assert ("pip wheel" in run("make", "--dry-run", target, f"VENV={built}", *words, cwd=ROOT)) == builds


def test_make_reads_what_a_build_needs():
    """The Makefile takes the requirements out of one line of pyproject.toml."""
    (line,) = re.findall(r"^requires = \[(.*)\]$", PYPROJECT, re.MULTILINE)
    assert {"setuptools", "cython", "pybind11"} <= set(re.findall(r'"([\w-]+)', line))


def sessions():
    """Names of the nox sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {each.name for each in functions if any("nox.session" in ast.unparse(d) for d in each.decorator_list)}


@needs_workflows
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_nox_and_nothing_else(path):
    """So that each step can be run by hand; and what they may do is little."""
    text = path.read_text(encoding="utf-8")
    commands = re.findall(r"^ +(?:- )?run: (.*)$", text, re.MULTILINE)
    named = [re.fullmatch(r'python -m nox -s (\w+)(?: -- "\$GITHUB_REF_NAME")?', each) for each in commands]
    assert all(named[i] or each == "python -m pip install nox" for i, each in enumerate(commands))
    asked = {each[1] for each in named if each}
    assert asked
    assert asked <= sessions()
    assert re.search(r"^permissions:\n  contents: read\n\n", text, re.MULTILINE)
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"(actions/[\w-]+@v\d+|pypa/gh-action-pypi-publish@release/v1)", action)
    n_checkouts, n_jobs = text.count("persist-credentials: false"), text.count("timeout-minutes:")
    assert text.count("uses: actions/checkout@") == n_checkouts
    assert text.count("runs-on:") == n_jobs


def script(name):
    """A module of the folder .ci."""
    names = {"__file__": str(ROOT / ".ci" / name), "__name__": name}
    exec(compile((ROOT / ".ci" / name).read_text(encoding="utf-8"), name, "exec"), names)
    return names


def test_compiled_modules_are_looked_for_in_wheels():
    """All that the build makes."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    made = re.search(r"foreach\(source IN ITEMS ([^)]*)\)", text)[1].split()
    assert set(script("check_packages.py")["MODULES"]) == {f"pycryo/{name}" for name in ["_core", *made]}


@needs_workflows
def test_the_site_that_is_published_is_the_one_that_is_built():
    """The workflow takes it from where the nox session puts it."""
    (taken,) = re.findall(r"path: (\S+)", (ROOT / ".github" / "workflows" / "docs.yml").read_text(encoding="utf-8"))
    assert f'"docs", "{taken}")' in (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_releases_are_of_one_version():
    faults = script("check_release.py")["faults"]
    files = ["pycryo-0.2.0.tar.gz", "pycryo-0.2.0-cp313-cp313-manylinux_2_28_x86_64.whl"]
    citation, changelog = "title: pycryo\nversion: 0.2.0\n", "# Changelog\n\n## 0.2.0 (2026-12-01)\n"
    assert faults("v0.2.0", files, citation, changelog) == []
    assert len(faults("v0.2.1", files, citation, changelog)) == 4
    assert faults("v0.2", [], citation.replace("2.0", "2"), "## 0.2") == [
        "the tag v0.2 is not of the form vX.Y.Z",
        "there are no files",
    ]


def test_strays_in_wheels_are_found(tmp_path):
    """A wheel of all that it should have, less one file, and with one too many."""
    check = script("check_packages.py")
    stem, abi = "pycryo-0.2.0", "cpython-313-x86_64-linux-gnu.so"
    names = {f"{stem}.dist-info/licenses/{name}" for name in check["LICENSES"]} | check["EXAMPLES"]
    names |= {f"{module}.{ending}" for module in check["MODULES"] for ending in ("pyi", abi)}
    names |= {"pycryo/py.typed", "pycryo/_version.py", "pycryo/__init__.py", f"{stem}.dist-info/METADATA"}
    names |= {"pycryo.libs/libgomp-24e2ab19.so.1.0.0"}
    path = tmp_path / f"{stem}-cp313-cp313-manylinux_2_28_x86_64.whl"

    def faults(names):
        with zipfile.ZipFile(path, "w") as wheel:
            for name in names:
                wheel.writestr(name, "")
        return check["wheel_faults"](path)

    assert faults(names) == []
    assert faults(names - {"pycryo/py.typed"}) == ["lacks pycryo/py.typed"]
    assert faults(names - {f"pycryo/_core.{abi}"}) == ["lacks pycryo/_core"]
    assert faults(names - {"pycryo.libs/libgomp-24e2ab19.so.1.0.0"}) == ["lacks libgomp"]
    for stray in ("tests/conftest.py", "pycryo/filter/_weights.pyx", "pycryo_bench/README.md"):
        assert faults(names | {stray}) == [f"has {stray}"]
