# make demo   refine the real particles shipped with pycryo on two MPI ranks
# make test   the whole test suite, MPI tests included
# make dev    the developer's environment: editable install, linters, pre-commit
# Needs Python >= 3.10 with venv and a C++ compiler. All goes into $(VENV), build/ and $(OUT); pycryo is built once for
# both, and again when a file changes that is installed. Where there is ccache only what changed is then compiled.

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_run
RANKS ?= 2

BIN := $(abspath $(VENV))/bin
RUN := PATH="$(BIN):$$PATH"
PIP := $(BIN)/python -m pip
WHEELS := $(abspath $(VENV))/wheels
SOURCES := $(shell find bench cmake csrc examples/betagal pycryo -type f ! -path 'bench/paper/*' ! -name '*.md' \
  ! -name '*.so' ! -name '*.pyc' ! -name _version.py) CMakeLists.txt pyproject.toml setup.py
# What the build needs (pyproject.toml), in the environment: in one of its own, new each time, pybind11 would be at another
# place, and ccache would know nothing of what includes it.
BUILD_TOOLS = sed -n 's/^requires = \[\(.*\)\]$$/\1/p' pyproject.toml | tr , ' ' | xargs $(PIP) install --quiet cmake ninja

export CMAKE_CXX_COMPILER_LAUNCHER ?= $(shell command -v ccache 2>/dev/null)

.PHONY: demo test dev clean

demo: $(WHEELS)/installed
	$(PIP) install --quiet "$$(ls $(WHEELS)/pycryo-*.whl)[mpich]"
	$(RUN) mpiexec -n $(RANKS) pycryo demo --overwrite --out $(OUT)
	@echo
	@echo 'map:     $(OUT)/run_class001.mrc'
	@echo 'FSC:     $(OUT)/run_fsc.star, $(OUT)/run_fsc.xml'
	@echo 'report:  $(OUT)/report.html'

# From inside tests/, so that the installed package is tested, not the source tree. PYTEST_ARGS="-n 0": one after the
# other, as a plain pytest does. The files of tests that passed, a gigabyte, are removed.
test: $(WHEELS)/installed
	$(PIP) install --quiet "$$(ls $(WHEELS)/pycryo-*.whl)[mpich,test]"
	cd tests && $(RUN) pytest -n auto --maxprocesses 4 -o tmp_path_retention_policy=failed $(PYTEST_ARGS)

dev: $(VENV)/pyvenv.cfg
	$(BUILD_TOOLS)
	rm -f $(WHEELS)/installed
	$(PIP) install --quiet --no-build-isolation -e '.[dev]'
	$(RUN) pre-commit install

$(WHEELS)/installed: $(SOURCES) | $(VENV)/pyvenv.cfg
	rm -rf $(WHEELS) build/lib.* build/bdist.*
	$(BUILD_TOOLS)
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir $(WHEELS) .
	$(PIP) install --quiet --force-reinstall --no-deps $(WHEELS)/pycryo-*.whl
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
