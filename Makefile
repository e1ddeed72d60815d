# Everything a developer does here. On a fresh machine `make demo` and `make test` need Python 3.11 or newer, make, and a
# package index; everything else is fetched, locked by hash, into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_SECONDS ?= 20
# Most tests wait for something, so three run at a time; what measures speed runs alone.
TESTS ?= tests/unit tests/contract tests/integration tests/fault
WORKERS ?= 3
LOCK = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# The first of these that is new enough; PYTHON=/path/to/python decides otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: demo test test-fault compose-test bench lint fmt type run lock dashboards clean

demo: $(READY)
	@$(BIN)/recorder demo --seconds $(DEMO_SECONDS)

run: $(READY)
	@$(BIN)/recorder run

test: lint type
	@$(BIN)/pytest --quiet --numprocesses $(WORKERS) --dist worksteal $(TESTS)
	@$(BIN)/pytest --quiet tests/bench

test-fault: $(READY)
	@RECORDER_LONG=1 $(BIN)/pytest --quiet tests/unit/test_spool_model.py tests/fault tests/bench

# The whole stack in containers, killed and brought back; says "skipped" where no Docker engine can be had.
compose-test: $(READY)
	@$(BIN)/pytest --quiet -rs tests/compose

bench: $(READY)
	@$(BIN)/recorder bench

lint: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .

fmt: $(READY)
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

type: $(READY)
	@$(BIN)/mypy

# What Grafana shows, from deploy/grafana/*.py and the statements beside them.
dashboards: $(READY)
	@$(BIN)/python -m deploy.grafana.build

# Resolved on the lowest Python we support, so that what only old versions need is in the lock.
lock: $(READY)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make lock needs a .venv of Python 3.11")'
	@$(LOCK) --extra simulator --output-file requirements.txt pyproject.toml
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' \
		> $(VENV)/dev.in
	@$(LOCK) --output-file tests/clients/requirements.txt tests/clients/requirements.in
	@$(LOCK) --extra embedded --extra simulator --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml $(VENV)/dev.in

# .ready is written last, so an unfinished environment is finished next time; one whose Python is gone is made anew.
$(READY): requirements-dev.txt pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "recorder needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: install them (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Preparing $(VENV) (once) ..." >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes --requirement requirements-dev.txt \
		|| { echo "the packages of requirements-dev.txt could not be installed: is a package index reachable (pip config list)?" >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation --no-index --editable .
	@touch $@

clean:
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
