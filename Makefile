# The suite's commands. `make table`: the main result. `make test`: all that CI runs.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory

# of what was made here, as manifests tell: git keeps tables of other machines
MADE = $$(ls results/table_*.json | sed 's/json$$/csv/') $$(ls results/figures/*.json | sed 's/json$$/png/')

.PHONY: setup table report test lint pytest clean

setup: $(READY)

# the stamp is written last, so a half-made environment has none and is made anew
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on this machine: install Python 3.11, or name it by PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch==2.13.0 --editable .[dev]
	@touch $@

table: setup
	snakemake --cores all
	@$(MAKE) report

# one file, the ledger in front; the figures need no more than `make table` has made, and of a
# table made without some models only what is there is looked for
report: setup
	snakemake --quiet -- results/ledger.html figure_1_embedded figure_2 figure_3_embedded
	snakemake --quiet --config partial=true --report results/report.html -- results/ledger.html $(MADE)

lint: setup
	ruff check
	ruff format --check
	snakefmt --check --compact-diff Snakefile workflow
	snakemake --lint
	mypy

pytest: setup
	pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup
	$(MAKE) -j 2 lint pytest

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find radio tests -name __pycache__ -type d -prune -exec rm -rf {} +
