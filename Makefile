# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT := false

.PHONY: help demo test test-faults test-e2e bench lint types audit check fix clean
help:  ## show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "epa needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first and pinned: where a build without CUDA is at hand, pip then takes that one.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## animate the built-in sample works into ./demo-output
	$(BIN)/epa demo --output demo-output

# tests/conftest.py says which files go together.
test: $(STAMP)  ## run all tests, a few files at a time
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --no-loadscope-reorder

test-faults: $(STAMP)  ## kill, starve and confuse runs; prints a table of what was lost (nothing)
	$(BIN)/python -m pytest tests/faults --faults

test-e2e: $(STAMP)  ## long tests with real Prefect servers, workers and clusters
	$(BIN)/python -m pytest tests -m e2e --e2e

bench: $(STAMP)  ## measure the machinery; prints a table
	$(BIN)/python -m benchmarks

lint: $(STAMP)  ## style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)  ## static types
	$(BIN)/mypy

audit: $(STAMP)  ## known vulnerabilities of the installed packages
	$(BIN)/python .ci/audit.py

check: lint types test  ## all of the above

fix: $(STAMP)  ## mend style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove what the demo and the benchmark made
	rm -rf demo-output bench-output
