# Every target sets itself up: it needs Python >= 3.11, make and a package registry, nothing else.
#   make demo | map | test | test-slurm | test-long | real DATA=... | real-map DATA=... | lint | types | imports | docs | tests | wheel | bench | setup | clean
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= demo-out
MAP_OUT ?= map-out
REAL_OUT ?= real-out
REAL_MAP_OUT ?= real-map-out
DATA ?= ../shared/data
MODELS ?= ../shared/models
SEEDS ?= 200
PYTEST_ARGS ?=
# More arguments of tests.release, e.g. WHEEL_ARGS=--all before a release.
WHEEL_ARGS ?=
# Processes that share the tests, each with one thread of torch: one more than two cores, for many tests wait. Those that need gigabytes
# stay in one process.
JOBS ?= 3
# An extra index or a folder of wheels for pip, e.g. PIP_ARGS="--extra-index-url URL" for a torch without CUDA.
PIP_ARGS ?=

.PHONY: help setup demo map test test-slurm test-long real real-map lint types imports docs tests wheel bench notebooks clean

help:
	@echo "make demo             a cluster, a catalogue and 64 places on this machine; ends with figures, a store and a picture"
	@echo "make map              a map of 20 x 20 km from a catalogue on this machine; ends with figures, scores and a picture"
	@echo "make test             lint, types, import layers, the site of the documents and the whole suite"
	@echo "make test-slurm       runs on a Slurm of one machine with fake GPUs: needs root, installs Debian's slurm-wlm and munge"
	@echo "make test-long        the same, then SEEDS=200 runs of places and of maps under attack, then all models against the recorded numbers in MODELS=DIR"
	@echo "make real DATA=DIR    run real Galileo weights on real Sentinel-2 images from DIR"
	@echo "make real-map DATA=DIR  map a real granule with real Galileo weights; ends with scores of five overlaps and a picture"
	@echo "make bench            compare the pipeline with its lower bound"
	@echo "make docs             the site of the documents in site/; any link that leads nowhere fails"
	@echo "make wheel            build the wheel, install it in clean environments of the Pythons that are here, and use it"
	@echo "make lint | types | imports | tests | notebooks | setup | clean"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' || { \
	  echo "rs-embed-dask needs Python >= 3.11, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Fix: install a newer Python and run 'make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot create virtual environments. Fix: install its venv package (Debian: apt install python3-venv)."; exit 1; }
	@echo "setting up $(VENV) (a few minutes the first time: torch is large)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev,plot,notebook]"
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python -m tests.services.demo --out $(OUT)

map: $(READY)
	@$(BIN)/python -m tests.services.map_demo --out $(MAP_OUT)

real: $(READY)
	@$(BIN)/python -m examples.real_images --data $(DATA) --out $(REAL_OUT)

real-map: $(READY)
	@$(BIN)/python -m examples.real_map --data $(DATA) --out $(REAL_MAP_OUT)

test: lint types imports docs tests

test-slurm: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.slurm $(PYTEST_ARGS)

test-long: test
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS)
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) --drivers 2
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) --maps
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) --maps --drivers 2
	@$(BIN)/python -m tests.chaos --seeds 10 --store s3
	@$(BIN)/python -m tests.chaos --seeds 10 --store s3 --maps --drivers 2
	@$(BIN)/python -m tests.parity $(MODELS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --clean --strict
	@echo "site/index.html: open it, or run '$(BIN)/python -m http.server --directory site' to search too"

tests: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

wheel: $(READY)
	@$(BIN)/python -m tests.release --pip-args="$(PIP_ARGS)" $(WHEEL_ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks.overhead
	@$(BIN)/python -m benchmarks.pipeline

notebooks: $(READY)
	@$(BIN)/python -m tests.notebook_run --write

clean:
	rm -rf $(VENV) $(OUT) $(MAP_OUT) $(REAL_OUT) $(REAL_MAP_OUT) build dist site *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
