# Two commands for a fresh machine: `make demo` and `make test`. Both set up what they need first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ARGS ?=

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
CODE := $(wildcard pileway protocol gateway charging billing operator_api rider_web device_sim payment_sim database conformance tests)
# One file stays on one worker, so that what it starts for itself is started once; files run in the order of the
# folders below, longest first. Most integration tests wait for servers of their own, so that two cores take four.
PARALLEL := --dist loadfile --no-loadscope-reorder
# Real processes, brokers and browsers on a loaded machine: a second try, and the summary names every test that took it.
ONCE_MORE := --reruns 1 -rR

.PHONY: help demo once test check types rules format setup lock clean

help:
	@echo "make demo    the whole platform with a simulated street, until Ctrl-C (ARGS='--speed 60')"
	@echo "make once    one paid charge, its story to the fen, then exit"
	@echo "make test    all tests, on real parts"
	@echo "make check   format, lint, types, import rules, house rules"
	@echo "make setup   only install what demo and test need"
	@echo "make lock    choose newer versions of the dependencies and write requirements.lock"

demo:
	@deploy/setup.sh demo
	@$(BIN)/pileway demo $(ARGS)

once:
	@deploy/setup.sh demo
	@$(BIN)/pileway demo --once $(ARGS)

test:
	@deploy/setup.sh test
	$(PYTEST) tests/unit -n 2 --dist loadfile
	$(PYTEST) tests/timescale tests/browser tests/integration -n 4 $(PARALLEL) $(ONCE_MORE)
	$(PYTEST) tests/conformance tests/street tests/independent tests/acceptance -n 2 $(PARALLEL) $(ONCE_MORE)

check:
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory -j 2 types rules

types:
	$(BIN)/pyright

rules:
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports
	$(PYTEST) tests/unit/test_house.py

format:
	@deploy/setup.sh test
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

setup:
	@deploy/setup.sh test

lock:
	@deploy/lock.sh

clean:
	rm -rf .venv node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
