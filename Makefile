# `make demo` searches topologies for three tasks; `make test` checks everything. Both set up .venv themselves.
PYTHON ?= python3
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5
PROCESSES ?= $(shell $(PYTHON) -c 'import os, shutil; print(1 if shutil.which("nvidia-smi") else min(2, os.cpu_count() or 1))')
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all unit test-d2 gpu-check lint clean

help:
	@echo "make demo     install into .venv and search topologies for three tasks (minutes, no data needed)"
	@echo "make test     install into .venv with every extra; lint, type check and all tests"
	@echo "make test-all the same with tests that have others like them (half as long again)"
	@echo "make unit     the same without the slow tests"
	@echo "make test-d2 PYTHON=...  tests/d2 by a Python that has Detectron2, D2Go and pytest; installs nothing"
	@echo "make gpu-check  on a machine with a GPU: parity, speed and memory, in 8 minutes at most"
	@echo "make lint     ruff and mypy alone"
	@echo "make clean    remove .venv, the demo's run, and what tests and builds leave"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# What is imported is compiled then: compiling all of torch and its kin beforehand takes half of the installation.
INSTALL := $(BIN)/pip install --quiet --no-compile --editable

$(VENV)/.installed: $(BIN)/python setup.py
	@echo "installing fbnetv5 and what it needs into $(VENV) (torch is large; a few minutes the first time)"
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(BIN)/python setup.py
	@echo "installing fbnetv5, what it needs and what its tests need into $(VENV) (a few minutes the first time)"
	$(INSTALL) '.[test]'
	@touch $(VENV)/.installed $@

demo: $(VENV)/.installed
	$(BIN)/python train_net.py --config configs/quickstart.yaml --processes $(PROCESSES) resume=true

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python $(PYTEST)

test-all: lint
	FBNETV5_ALL_TESTS=1 $(BIN)/python $(PYTEST)

unit: lint
	$(BIN)/python $(PYTEST) -m 'not slow'

test-d2:
	PYTHONPATH=$(CURDIR) $(PYTHON) -m pytest tests/d2 --none-skipped

gpu-check: $(VENV)/.installed
	$(BIN)/python scripts/gpu_check.py --json runs/gpu_check.json

clean:
	rm -rf $(VENV) runs/quickstart build *.egg-info .pytest_cache .mypy_cache .ruff_cache
