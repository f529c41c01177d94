# Everything a fresh machine needs: Python 3.11 or newer, make, a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS)

.PHONY: setup demo test test-long test-slow check format lock clean
.DEFAULT_GOAL := help

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.dev $(VENV)/.weights  ## .venv with all that development needs, weights included

demo: $(VENV)/.train $(VENV)/.weights  ## Distil a real teacher on this machine, ask it questions
	$(BIN)/hpd demo

test: $(VENV)/.dev  ## The tests; under 5 minutes on 2 cores
	$(BIN)/python -m pytest -q -n 2

test-long: $(VENV)/.dev  ## Longer tests that CI runs, too: kills, parity of every command on every tiny model
	$(BIN)/python -m pytest -q -n 2 -m "long and not slow"

test-slow: setup  ## The tests that need weights or minutes
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.dev  ## What CI runs: lint, types, import rules, tests
	scripts/check

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock:  ## Choose versions anew, for every platform and Python
	$(PYTHON) -m pip install -q uv
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --all-extras \
		--no-emit-index-url --no-header --no-annotate --constraint requirements/pins.txt \
		pyproject.toml -o $(CONSTRAINTS)

clean:  ## Remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp for each set of packages: make installs again when the versions change.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("hpdistill needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(INSTALL) -e '.[train,search]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(INSTALL) -e '.[train,augment,eval,search,milvus,dev]'
	@touch $@ $(VENV)/.train

$(VENV)/.weights: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(INSTALL) -e '.[weights]'
	@touch $@
