# Everything that one does with this project. Needs Python 3.11 or newer, and make.
# `make TARGET ARGS="..."` hands ARGS to the command behind the target.

# Tried in this order; the first that is new enough makes the environment.
PYTHON ?= python3.11 python3
VENV ?= .venv
BIN := $(VENV)/bin
# Newer than the lock exactly when everything in the lock is installed.
STAMP := $(VENV)/.installed
ARGS ?=

# Errors only.
PIP_OPTIONS := -qq --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# For tests without Ray. More processes than this cost more to start than they save.
PARALLEL := -n auto --maxprocesses=4
HERE := not node and not browser and not soak
DECIDES := tests/unit tests/test_tidy.py tests/test_documents.py crdt presence_actors/core

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help venv demo test check format lint types imports unit property simulation integration \
	test-node test-browser coverage soak mutants bench bench-gateway bench-store bench-sim lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## the environment (.venv), from requirements.lock; made by every target that needs it

$(STAMP): requirements.lock pyproject.toml
	@python=; for candidate in $(PYTHON); do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "presence-actors needs Python 3.11 or newer, and this is not: $(PYTHON)." \
	    "Install one, or say where it is: make venv PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) from requirements.lock; the first time takes a minute or two."; \
	$$python -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## two zones with people who come and go, live (ARGS="--for 20s" ends by itself)
	$(BIN)/presence demo $(ARGS)

test: unit property simulation integration  ## every test that needs no Node and no browser

check: format lint types imports  ## formatting, lint, types, who imports whom

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)  ## one module at a time, the examples in docstrings, and the house rules
	$(PYTEST) $(PARALLEL) $(DECIDES) $(ARGS)

property: $(STAMP)  ## laws that hold for all inputs
	$(PYTEST) $(PARALLEL) tests/property $(ARGS)

simulation: $(STAMP)  ## stories under a virtual clock, and the model of what may be forgotten
	$(PYTEST) $(PARALLEL) tests/simulation tests/model $(ARGS)

integration: $(STAMP)  ## real processes, real sockets, real Ray
	$(PYTEST) -n 2 --dist loadgroup -m "$(HERE)" tests/integration $(ARGS)

# Without npm the tests skip, and say so.
test-node: $(STAMP)  ## the JavaScript client, and stock Phoenix clients against a real cluster
	@if command -v npm >/dev/null; then \
	  for folder in tests/node js; do \
	    (cd $$folder && npm ci --loglevel=error --no-audit --no-fund) || exit 1; \
	  done; \
	else \
	  echo "There is no npm here, so the stock clients cannot be installed: install Node.js 20" \
	    "or newer." >&2; \
	fi
	$(PYTEST) -m node tests/integration/node $(ARGS)

# Without Chromium the tests skip, and say so.
test-browser: $(STAMP)  ## the page in headless Chromium, during a real cut of two zones
	$(PYTEST) -m browser tests/integration/browser $(ARGS)

coverage: $(STAMP)  ## unit and property together; fails below the number in pyproject.toml
	$(PYTEST) $(PARALLEL) --cov --cov-report=term:skip-covered $(DECIDES) tests/property $(ARGS)

sim: $(STAMP)  ## whole clusters, broken at random, and every seed that found something (ARGS="--seeds 200")
	$(BIN)/presence sim --jobs 2 $(ARGS)
	$(BIN)/presence sim --jobs 2 --seeds-from tests/simulation/regressions.txt

mutants: $(STAMP)  ## bugs on purpose, and which test catches each; fails if one survives
	$(BIN)/python -m tests.mutants

soak: $(STAMP)  ## the laws with 200 times the examples, the stories that run long, 10,000 seeds, 1,000 kills
	HYPOTHESIS_PROFILE=soak $(PYTEST) $(PARALLEL) -m "soak or not soak" --timeout=3600 \
	  tests/property tests/simulation tests/model $(ARGS)
	$(BIN)/presence sim --jobs 2 --seeds 10000
	$(PYTEST) -m soak tests/integration/ray $(ARGS)

bench: $(STAMP)  ## latency and cost on this machine (ARGS="--quick --json FILE")
	$(BIN)/python -m benchmarks.bench_cluster $(ARGS)

bench-gateway: $(STAMP)  ## one gateway beside a C loop and Node's ws, then in a cluster (ARGS="--quick --json FILE")
	$(BIN)/python -m benchmarks.bench_gateway $(ARGS)

bench-store: $(STAMP)  ## the map against a dict, loro, pycrdt and Redis (ARGS="--quick --plot FILE")
	$(BIN)/python -m benchmarks.bench_store $(ARGS)

bench-sim: $(STAMP)  ## how much faster than real time the simulated world runs (ARGS="--quick --profile")
	$(BIN)/python -m benchmarks.bench_sim $(ARGS)

# In an environment of its own, so that the tool that resolves does not end up in what it resolves.
# With extras: pip 23 takes `coverage==X` and `coverage[toml]>=Y` for two packages, and refuses the
# second as soon as there is a newer release than X.
lock: $(STAMP)  ## resolve pyproject.toml into requirements.lock anew (ARGS="--upgrade")
	$(BIN)/python -m venv build/lock
	build/lock/bin/python -m pip install $(PIP_OPTIONS) pip-tools
	build/lock/bin/pip-compile --quiet --extra dev --extra bench --generate-hashes --no-strip-extras --no-header \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --output-file requirements.lock $(ARGS) pyproject.toml

clean:  ## take away caches and build results; the environment stays
	rm -rf build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache
	find crdt presence_actors tests benchmarks examples -type d -name __pycache__ -prune \
	  -exec rm -rf {} +
