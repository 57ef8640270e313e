# Everything a newcomer types. Only Python 3.11 or later and make are needed; with Node, the explorer page is built too.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
DATA := $(or $(KITH_DATA_DIR),.kith)
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
WORKERS ?= 2  # much of a test is waiting; each worker has parts of its own
EXPLORER := graphiql/dist/manifest.json
SPECS := tests/contract/node_modules/.package-lock.json
CLIENTS := tests/acceptance/clients/node_modules/.package-lock.json

.PHONY: run
run: ## Start everything on this machine and serve GraphiQL on http://127.0.0.1:8000/graphql
	@$(MAKE) --silent -j2 $(RUN_STAMP) $(EXPLORER)
	@exec $(PY) server.py

.PHONY: test
test: ## Run the whole test suite on the real parts
	@$(MAKE) --silent -j2 $(TEST_STAMP) $(EXPLORER) $(SPECS) $(CLIENTS)
	@exec $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

.PHONY: check
check: $(TEST_STAMP) ## Check style, types, the direction of imports and the committed contracts
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy .
	@$(PY) -m schema.schema --check
	@$(PY) -m transport.openapi --check
	@$(PY) -m events.contract --check
	@$(PY) -m pytest --quiet tests/unit/test_imports.py

# Tests beside those of tests/proof that have a long form.
PROOFS := tests/acceptance/test_production.py tests/acceptance/test_protocol_mutants.py \
	tests/acceptance/test_stream_proof.py tests/integration/test_audit.py tests/integration/test_personal.py \
	tests/integration/test_returns.py tests/integration/test_sockets.py

.PHONY: prove
prove: $(TEST_STAMP) ## Prove privacy, consistency and delivery at length: model, races, leaks, streams (an hour)
	@PROVE=long $(PY) -m pytest -rP tests/proof $(PROOFS) $(PYTEST)

.PHONY: leak-hunt
leak-hunt: $(TEST_STAMP) ## Compare every way to a hidden person with one to nobody; LEAK=gate makes a leak to find
	@$(PY) -m tests.proof.leaks.hunt $(if $(LEAK),--leak $(LEAK))

.PHONY: chaos
chaos: $(TEST_STAMP) ## Kill and freeze every part under load, by a seed, and account for every event (ARGS="--seed 7")
	@$(PY) -W ignore -m tests.chaos $(ARGS)

.PHONY: bench
bench: $(TEST_STAMP) ## Measure: start-up, plans, requests, notifications, load (ARGS="plans", ARGS="peers")
	@$(PY) -m benchmarks $(ARGS)

.PHONY: seed
seed: $(RUN_STAMP) ## Make the named people; with GRAPH=file.csv.gz load a graph of mutual follows as well
	@$(PY) -m development seed
	@$(if $(GRAPH),$(PY) -m storage.import_graph --graph "$(GRAPH)")

.PHONY: clean
clean: ## Remove the data of make run, the virtual environment and all that was built
	@if [ -x $(PY) ] && [ -d "$(DATA)" ]; then $(PY) -m embedded clean "$(DATA)" && rm -rf "$(DATA)"; fi
	@rm -rf $(VENV) tests/contract/node_modules tests/acceptance/clients/node_modules graphiql/node_modules graphiql/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: lock
lock: $(TEST_STAMP)
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --quiet --upgrade -o requirements.lock
	@$(PY) -m uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --quiet --upgrade -c requirements.lock -o requirements-dev.lock

$(PY):
	@found=""; for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Kith needs Python 3.11 or later; none was found. Install one, or say PYTHON=path." >&2; exit 1; fi; \
	echo "Making the virtual environment with $$($$found --version)"; \
	$$found -m venv $(VENV) || { rm -rf $(VENV); echo "The module venv is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(RUN_STAMP): requirements.lock | $(PY)
	@echo "Installing the packages of requirements.lock (once)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@touch $@

$(TEST_STAMP): requirements-dev.lock | $(PY)
	@echo "Installing the packages of requirements-dev.lock (once)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $(RUN_STAMP) $@

# Without Node the page says so by itself and falls back to pinned files; that is no reason not to start.
$(EXPLORER): graphiql/package.json graphiql/package-lock.json graphiql/build.mjs $(wildcard graphiql/src/*)
	@if command -v npm >/dev/null 2>&1; then \
		echo "Building the explorer page (once)"; \
		(cd graphiql && npm ci --silent --no-audit --no-fund && npm run --silent build) && touch $@ \
			|| echo "The explorer page could not be built; a plainer one takes its place." >&2; \
	else echo "Node is not installed: the explorer page will say so, and use pinned files from a CDN."; fi

# The schema of AsyncAPI, which one test holds the contract with other services against.
$(SPECS): tests/contract/package.json tests/contract/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
		(cd tests/contract && npm ci --silent --no-audit --no-fund) \
			|| echo "The schema of AsyncAPI could not be had; one test passes over it." >&2; \
	fi

# The public clients that speak our subscriptions, which tests run against the service.
$(CLIENTS): tests/acceptance/clients/package.json tests/acceptance/clients/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
		(cd tests/acceptance/clients && npm ci --silent --no-audit --no-fund) \
			|| echo "The public clients could not be had; their tests are passed over." >&2; \
	fi
