# Every target sets up what it needs. Only Python >= 3.11 and make are expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test lint types imports format checks stress stress-collect bench bench-cycle bench-bundles migration lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=python3.x" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies (once) ..."
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the locked development tools (once) ..."
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.runtime ## Start everything: sandbox, Dagster, exporter; Ctrl-C stops it
	@exec $(BIN)/ao up

test: $(VENV)/.development ## Run every test, on SQLite and on a real PostgreSQL
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: $(VENV)/.development ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.development ## Check types
	$(BIN)/mypy

imports: $(VENV)/.development ## Check the import contracts
	$(BIN)/lint-imports

format: $(VENV)/.development ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

checks: $(VENV)/.runtime ## Compute a fresh store against the sandbox and run every asset check on it
	$(BIN)/ao checks --fresh

stress: $(VENV)/.development ## Ten thousand random histories and a thousand kills against the bundle engine
	$(BIN)/python -m ao_pipeline_tests.stress.run --histories 10000 --kills 1000 --tamperings 10000

stress-sources: $(VENV)/.development ## Every combination of five sources being down, with five faults: 160 pairs of cycles
	$(BIN)/python -m ao_pipeline_tests.stress.sources_down

stress-collect: $(VENV)/.development ## Three hundred random histories of every upstream, with faults and killed collections, against its truth
	$(BIN)/python -m ao_pipeline_tests.stress.upstreams --histories 300

stress-breakers: $(VENV)/.development ## A million random events, a thousand kills and races for one probe against the breakers
	$(BIN)/python -m ao_pipeline_tests.stress.breakers

chaos: $(VENV)/.development ## Kill and stop every process of a real engine 200 times; healthy again each time?
	$(BIN)/python -m ao_pipeline_tests.chaos.run --kills $(or $(kills),200) --seed $(or $(seed),20261123) --database $(or $(database),postgres)

chaos-short: $(VENV)/.development ## The same in minutes: every kind of fault once
	$(BIN)/python -m pytest -m slow ao_pipeline_tests/chaos

bench: bench-cycle bench-collect bench-bundles ## Run every benchmark, side by side with its peers

bench-cycle: $(VENV)/.development ## A cycle with unchanged inputs against a job of no-op assets
	$(BIN)/python -m ao_pipeline_tests.bench.cycle

bench-collect: $(VENV)/.development ## First and incremental collections of every source, in a small and a large world
	$(BIN)/python -m ao_pipeline_tests.bench.collect

$(VENV)/.bench: requirements-bench.lock $(VENV)/.development
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-bench.lock
	@touch $@

bench-bundles: $(VENV)/.bench ## The bundle engine against its peers
	$(BIN)/python -m ao_pipeline_tests.bench.bundles

migration: $(VENV)/.development ## Write the next migration from the table specs: make migration m="Add a column"
	$(BIN)/python -m ao_pipeline.adapters.state.revising $(m)
	$(BIN)/ruff format --quiet ao_pipeline/adapters/state/migrations

lock: $(VENV)/.development ## Resolve the dependencies again
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra build -o requirements.lock $(LOCK_OPTIONS)
	$(BIN)/uv pip compile pyproject.toml --extra build --extra dev -c requirements.lock -o requirements-dev.lock $(LOCK_OPTIONS)
	$(BIN)/uv pip compile pyproject.toml --extra bench -c requirements-dev.lock -o requirements-bench.lock $(LOCK_OPTIONS)

LOCK_OPTIONS := --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

clean: ## Remove the virtual environment, data and build output
	rm -rf $(VENV) var build
