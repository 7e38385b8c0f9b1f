# `make demo` and `make test` work from a fresh clone: Debian with python3, python3-venv and make.
PYTHON ?= python3
ENV := env
ifeq ($(OS),Windows_NT)
BIN := $(ENV)/Scripts
else
BIN := $(ENV)/bin
endif
INSTALL := $(notdir $(BIN))/python -m pip install --quiet --disable-pip-version-check --require-hashes
PIP_INSTALL := $(ENV)/$(INSTALL)
EIO3 := build/eio3
LOWEST := build/lowest
COMPILE := uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-header --no-annotate

# most tests wait for processes, so two cores bear twelve at a time; a file's tests share what they start, and
# the order of the files is that of tests/conftest.py
TWELVE_AT_ONCE := -n 12 --dist loadfile --no-loadscope-reorder
# hundreds of processes are started, none of which is to compile the same files again
test quick coverage lowest masters: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo picture test quick masters run check lock clean bench install uninstall install-master uninstall-master
.DELETE_ON_ERROR:

help:
	@echo "make demo           three workers and a master on this machine, a failover, and its story"
	@echo "make picture        the pictures in docs, by the demo and chromium"
	@echo "make run NODE_ID=1  one worker, against MASTER_URL"
	@echo "make test           every test (those that need root and network namespaces are skipped without them)"
	@echo "make lowest         every test with the lowest versions that requirements.in allows"
	@echo "make chaos SEED=1   FAULTS=1000 random faults, then fuzzing, MINUTES=10 for each of its targets"
	@echo "make soak           a restart of the master every 20 s for MINUTES=60"
	@echo "make masters        the worker against other masters, also of 2020 (needs npm; uses nginx and redis-server)"
	@echo "make bench          what it costs beside others, into bench/RESULTS.md; a quarter of an hour"
	@echo "make check          ruff, mypy and the import graph"
	@echo "make coverage       which lines the quick tests run"
	@echo "make install        as a service of this Debian (PREFIX, DESTDIR, WHEELHOUSE); again: upgrade; make uninstall"
	@echo "make install-master the master likewise; make uninstall-master"
	@echo "make lock           write requirements*.txt anew from requirements*.in"

$(BIN)/python:
	@$(PYTHON) -m venv $(ENV) || { rm -rf $(ENV); \
	  echo "no virtual environment could be made; on Debian: apt install python3-venv" >&2; exit 1; }

$(ENV)/.run: requirements.txt | $(BIN)/python
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(ENV)/.dev: requirements-dev.txt $(ENV)/.run $(ENV)/.master | $(BIN)/python
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

$(ENV)/.master: requirements-master.txt | $(BIN)/python
	$(PIP_INSTALL) -r requirements-master.txt
	@touch $@

demo: $(ENV)/.run $(ENV)/.master
	@$(BIN)/python -m demo

picture: $(ENV)/.dev
	@$(BIN)/python -m tests.picture
	@$(BIN)/python -m tests.dashboard_picture

run: $(ENV)/.run
	@$(BIN)/python client.py

test: $(ENV)/.dev
	$(BIN)/python -m pytest $(TWELVE_AT_ONCE) --ignore tests/other_masters

quick: $(ENV)/.dev
	$(BIN)/python -m pytest $(TWELVE_AT_ONCE) -m "not slow" --ignore tests/other_masters

# the lines that the quick tests run, those of the processes that they start included
coverage: $(ENV)/.dev
	$(BIN)/python -m pytest $(TWELVE_AT_ONCE) -m "not slow" --ignore tests/other_masters --cov --cov-report=term:skip-covered

# with the lowest versions that requirements.in allows, in an environment of its own
$(LOWEST)/.made: requirements-lowest.txt requirements-dev.txt
	@rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/$(INSTALL) -r requirements-dev.txt
	$(LOWEST)/$(INSTALL) --no-deps -r requirements-lowest.txt
	@touch $@

.PHONY: lowest
lowest: $(LOWEST)/.made
	$(LOWEST)/$(notdir $(BIN))/python -m pytest $(TWELVE_AT_ONCE) --ignore tests/other_masters

.PHONY: chaos soak coverage
chaos: $(ENV)/.dev
	$(BIN)/python -m tests.chaos all $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) \
	  $(if $(MINUTES),--minutes $(MINUTES))

soak: $(ENV)/.dev
	$(BIN)/python -m tests.chaos soak $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

$(ENV)/.masters: tests/other_masters/requirements.txt tests/other_masters/package-lock.json $(ENV)/.dev
	$(PIP_INSTALL) -r tests/other_masters/requirements.txt
	cd tests/other_masters && npm ci --silent --no-audit --no-fund
	@touch $@

# the worker's libraries and the masters' of 2020, each in an environment of its own
$(EIO3)/.made: requirements-eio3.txt tests/other_masters/requirements-eio3.txt
	@rm -rf $(EIO3)
	@{ $(PYTHON) -m venv $(EIO3)/worker && $(PYTHON) -m venv $(EIO3)/masters && \
	  $(EIO3)/worker/$(INSTALL) -r requirements-eio3.txt && \
	  $(EIO3)/masters/$(INSTALL) -r tests/other_masters/requirements-eio3.txt && touch $@; } || \
	  { rm -rf $(EIO3); echo "the libraries of 2020 could not be installed: the tests that need them are skipped" >&2; }

masters: $(ENV)/.masters $(EIO3)/.made
	$(BIN)/python -m pytest tests/other_masters

check: $(ENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy client.py diagnose.py worker connection failover network settings logs analysis master demo bench
	$(BIN)/python -m tests.test_layout

bench: $(ENV)/.dev
	$(BIN)/python -m bench.results

lock:
	for name in requirements requirements-master requirements-dev requirements-eio3 tests/other_masters/requirements \
	  tests/other_masters/requirements-eio3; do \
	  $(COMPILE) --upgrade $$name.in -o $$name.txt; done
	$(COMPILE) --upgrade --resolution lowest-direct requirements.in -o requirements-lowest.txt

# the system's own Python unless PYTHON is given: env/ and a user's Python are out of the service's reach
install uninstall install-master uninstall-master:
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" WHEELHOUSE="$(WHEELHOUSE)" PYTHON="$(if $(filter file,$(origin PYTHON)),,$(PYTHON))" \
	  sh deploy/linux/install.sh $@

clean:
	rm -rf $(ENV) build .pytest_cache .mypy_cache .ruff_cache
