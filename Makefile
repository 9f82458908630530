.DEFAULT_GOAL := help
.PHONY: help setup demo demo-distributed serve test test-fast check lock bench bench-scaling chaos clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv pip --system-certs

help:  ## Print what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## Load demo meters, run one export through HTTP, show the file
	@$(BIN)/meterport demo

demo-distributed: $(READY)  ## The same on PostgreSQL, Celery and an S3 store: a fleet, and a worker killed
	@$(BIN)/python -m deploy.one_machine

test: $(READY)  ## Run every test, in two processes
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

setup: $(READY)  ## Make .venv with everything in requirements.lock

check: $(READY)  ## Format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

serve: $(READY)  ## Serve until Ctrl-C, with the demo meters if they were loaded
	@$(BIN)/meterport serve

test-fast: $(READY)  ## Only the tests that start no process
	@$(BIN)/python -m pytest tests/unit

bench: $(READY)  ## Measure the start of a job and the idle service
	@$(BIN)/python benchmarks/service.py

bench-scaling: $(READY)  ## Measure what docs/scaling.md reckons with
	@$(BIN)/python -m benchmarks.scaling

chaos: $(READY)  ## Kill, cut and damage for up to an hour, and record the counts; SEED=… replays
	@METERPORT_CHAOS=full METERPORT_CHAOS_SEED="$(SEED)" METERPORT_CHAOS_RECORD=docs/reliability-runs.jsonl \
		$(BIN)/python -m pytest tests/chaos -p no:randomly --timeout 3600
	@$(BIN)/python -m tests.chaos.report

lock: $(READY)  ## Resolve requirements.lock anew, to releases at least a week old
	@$(UV) compile --quiet pyproject.toml --all-extras --group dev --universal --generate-hashes \
		--no-header --upgrade --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%dT00:00:00Z)" \
		--output-file requirements.lock

clean:  ## Remove .venv and the caches, not your data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# uv installs the lock in seconds; where it cannot reach the registry that pip is set up for, pip does.
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "meterport needs Python 3.11 or newer; say make PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(UV) install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
