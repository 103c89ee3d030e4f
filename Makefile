# Two commands for a fresh machine with Python 3.11 or newer: make demo, make test. Everything is installed in .venv.

PYTHON ?= python3
BIN := .venv/bin
GPU ?= 0
WORKERS := --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test quick lint check-gpu

demo: .venv/installed
	$(BIN)/python -m tools.demo

test: .venv/installed-dev
	$(BIN)/python -m pytest $(WORKERS)

# Parity, scope, configs and small runs: about a minute.
quick: .venv/installed-dev
	$(BIN)/python -m pytest $(WORKERS) tests/model/test_parity.py tests/model/test_scope.py tests/configs \
		tests/engine/test_compatibility.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# Whether a GPU computes as it should, and how fast; GPU=1 is the second one.
check-gpu: .venv/installed-dev
	CHECK_GPU=$(GPU) $(BIN)/python -m pytest -q tests/gpu

.venv/installed: requirements.txt requirements-tools.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-tools.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-features.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	@touch $@
