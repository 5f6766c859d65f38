# Each target makes what it needs; repeating one costs nothing.
#   make demo | test | bench | lint | readme | architecture | lock        ARGS="..." is passed on
#   TORCH=cpu | cu130 | ... takes torch's build of that name; empty, what the package index gives

PYTHON ?= python3
TORCH ?=
VENV := .venv
READY := $(VENV)/.ready
LOCK := requirements.lock
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
INDEX := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test bench lint readme architecture lock

# Where a job fails, its own line is shown with the path of its log. ARGS="--configfile configs/small.yaml"
# makes and shows another run.
demo: $(READY)
	@touch $(VENV)/.started
	@snakemake --quiet host rules --cores all all show_results $(ARGS) || \
	  { find results/*/logs -newer $(VENV)/.started -name '*.log' -exec grep -H '^error:' {} +; exit 1; }

# Several test processes share the cores, so a thread that waits sleeps, as in the programs.
test: export OMP_WAIT_POLICY := passive
test: $(READY)
	@python -m pytest -n 3 --no-loadscope-reorder $(ARGS)

bench: $(READY)
	@for program in benchmarks/*.py; do echo "== $$program"; python $$program $(ARGS) || exit 1; done

lint: $(READY)
	@ruff check .
	@ruff format --check .
	@snakefmt --check Snakefile rules
	@snakemake --lint
	@mypy

readme: $(READY)
	@python scripts/update_readme.py --run results/demo $(ARGS)

architecture: $(READY)
	@python scripts/draw_architecture.py $(ARGS)

# The newest versions that pyproject.toml allows, for every supported Python and platform.
lock:
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip --quiet install uv==0.13.9
	@$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra test \
	  --no-annotate --custom-compile-command "make lock" pyproject.toml --output-file $(LOCK)
	@rm -r $(VENV)-lock

$(READY): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "error: Python 3.11 to 3.13 is needed; set PYTHON=python3.13"; exit 1; }
	@echo "installing into $(VENV): takes a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint $(LOCK) $(INDEX) --editable '.[test]'
	@touch $@
