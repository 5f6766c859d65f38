# Each target makes what it needs; repeating one costs nothing.
#   make demo | test | bench | lint | readme        ARGS="..." is passed on

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test bench lint readme

demo: $(READY)
	@snakemake --quiet host rules --cores $$(nproc) $(ARGS)
	@python scripts/show_results.py --run results/demo

test: $(READY)
	@python -m pytest $(ARGS)

bench: $(READY)
	@for program in benchmarks/*.py; do echo "== $$program"; python $$program $(ARGS) || exit 1; done

lint: $(READY)
	@ruff check .
	@ruff format --check .
	@snakefmt --check Snakefile rules
	@snakemake --lint

readme: $(READY)
	@python scripts/update_readme.py --run results/demo $(ARGS)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; set PYTHON=python3.11"; exit 1; }
	@echo "installing into $(VENV): takes a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --editable '.[test]'
	@touch $@
