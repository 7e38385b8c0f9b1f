# `make demo` and `make test` work from a fresh clone: Debian with python3, python3-venv and make.
PYTHON ?= python3
ENV := env
ifeq ($(OS),Windows_NT)
BIN := $(ENV)/Scripts
else
BIN := $(ENV)/bin
endif
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: help demo test quick run check lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo           three workers and a master on this machine, a failover, and its story"
	@echo "make run NODE_ID=1  one worker, against MASTER_URL"
	@echo "make test           every test (those that need root and network namespaces are skipped without them)"
	@echo "make check          ruff and mypy"
	@echo "make lock           write requirements*.txt anew from requirements*.in"

$(BIN)/python:
	@$(PYTHON) -m venv $(ENV) || { rm -rf $(ENV); \
	  echo "no virtual environment could be made; on Debian: apt install python3-venv" >&2; exit 1; }

$(ENV)/.run: requirements.txt | $(BIN)/python
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(ENV)/.dev: requirements-dev.txt $(ENV)/.run | $(BIN)/python
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

demo: $(ENV)/.run
	@$(BIN)/python -m demo

run: $(ENV)/.run
	@$(BIN)/python client.py

test: $(ENV)/.dev
	$(BIN)/python -m pytest

quick: $(ENV)/.dev
	$(BIN)/python -m pytest -m "not slow" tests

check: $(ENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy client.py diagnose.py config.py connection.py ping_monitor.py failover.py logging_setup.py network story demo

lock:
	for name in requirements requirements-dev; do \
	  uv pip compile -q --universal --python-version 3.9 --generate-hashes --no-header --no-annotate \
	    --upgrade $$name.in -o $$name.txt; done

clean:
	rm -rf $(ENV) build .pytest_cache .mypy_cache .ruff_cache
