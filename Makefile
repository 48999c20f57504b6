# make demo   refine the real particles shipped with pycryo on two MPI ranks
# make test   the whole test suite, MPI tests included
# make dev    the developer's environment: editable install, linters, pre-commit
# Needs Python >= 3.10 with venv and a C++ compiler. All goes into $(VENV) and $(OUT).

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_run
RANKS ?= 2

BIN := $(abspath $(VENV))/bin
RUN := PATH="$(BIN):$$PATH"

.PHONY: demo test dev clean

demo: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet '.[mpich]'
	$(RUN) mpiexec -n $(RANKS) pycryo demo --out $(OUT)
	@echo
	@echo 'map:     $(OUT)/run_class001.mrc'
	@echo 'FSC:     $(OUT)/run_fsc.star, $(OUT)/run_fsc.xml'
	@echo 'report:  $(OUT)/report.html'

# From inside tests/, so that the installed package is tested, not the source tree.
test: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet '.[mpich,test]'
	cd tests && $(RUN) pytest $(PYTEST_ARGS)

dev: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	$(RUN) pre-commit install

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
