# The suite's commands. `make table`: the main result. `make test`: all that CI runs.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory

TABLE := results/table_smollm2.csv
FIGURE := results/figures/rate_distortion_smollm2.png

.PHONY: setup table test lint clean

setup: $(READY)

# the stamp is written last, so a half-made environment has none and is made anew
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on this machine: install Python 3.11, or name it by PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch==2.13.0 --editable .[dev]
	@touch $@

table: setup
	snakemake --cores all
	@$(MAKE) results/report.html

results/report.html: $(TABLE) $(FIGURE)
	snakemake --quiet --report $@

lint: setup
	ruff check
	ruff format --check
	snakefmt --check --compact-diff Snakefile workflow
	snakemake --lint
	mypy

test: lint
	pytest -n 2 --dist loadfile

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find radio tests -name __pycache__ -type d -prune -exec rm -rf {} +
