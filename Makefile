# Targets set up the virtual environment on first use. Requires Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

$(BIN)/python:
	@echo 'Setting up $(VENV): this takes a minute or two'
	@$(PYTHON) -m venv $(VENV)

# `.emulator` has the dependencies of `make demo`, `.dev` those of all other targets.
$(VENV)/.emulator: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[emulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.emulator

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 13

.PHONY: demo
demo: $(VENV)/.emulator ## Run a tour in the terminal, against the local emulator, or the real service if a key is set.
	@$(BIN)/python examples/demo.py

# Small chunks keep all processes busy until the end.
PARALLEL := --numprocesses auto --dist load --maxschedchunk 8

.PHONY: test
test: $(VENV)/.dev ## Run all tests.
	$(BIN)/python -m pytest $(PARALLEL)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## Run all tests that are not marked as slow.
	$(BIN)/python -m pytest $(PARALLEL) -m 'not live and not slow'

.PHONY: live
live: $(VENV)/.dev ## Check undocumented behavior of the real service with your key, in about fifty small calls.
	$(BIN)/python -m pytest tests/live -m live -rs

.PHONY: coverage
coverage: $(VENV)/.dev ## Run all tests, report line and branch coverage, and fail if it is too low.
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term

PROSE := langchain_bailian_app tests examples benchmarks notebooks docs .ci/*.py .github/*/*.yml \
	CONTRIBUTING.md SECURITY.md CHANGELOG.md Makefile pyproject.toml

.PHONY: lint
lint: $(VENV)/.dev ## Check style, formatting and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/codespell --dictionary .ci/banned-words.txt $(PROSE)

.PHONY: typecheck
typecheck: $(VENV)/.dev ## Check types.
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Fix formatting and lint errors.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: check
check: lint typecheck coverage ## Run lint, typecheck and coverage, which runs all tests.

.PHONY: notebooks
notebooks: $(VENV)/.dev ## Execute the notebooks.
	$(BIN)/python notebooks/execute.py

.PHONY: build
build: $(VENV)/.dev ## Build wheel and sdist into dist/, check them, and test the wheel in empty environments.
	$(BIN)/python .ci/distribution.py

TESTS_ON_LOWEST := chat_models/test_application_kinds chat_models/test_call_styles chat_models/test_secrets \
	chat_models/test_serialization emulator/test_completion test_doctor transport/test_error_classes \
	transport/test_odd_servers

.PHONY: test-lowest
test-lowest: ## Run the unit tests and some integration tests with the lowest supported dependencies.
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --editable . $$($(PYTHON) .ci/lowest.py) \
		pytest pytest-asyncio hypothesis trustme
	$(VENV)-lowest/bin/python -m pytest -o addopts="-q -m 'not live'" tests/unit_tests \
		$(TESTS_ON_LOWEST:%=tests/integration_tests/%.py)

$(VENV)-downstream/.installed: pyproject.toml tests/downstream/requirements.txt
	$(PYTHON) -m venv $(VENV)-downstream
	$(VENV)-downstream/bin/python -m pip install --quiet --editable '.[emulator,openapi]' pytest pytest-asyncio \
		--requirement tests/downstream/requirements.txt
	@touch $@

# `-W default`: these programs use functions that LangChain has deprecated.
.PHONY: downstream
downstream: $(VENV)-downstream/.installed ## Test agents, user interfaces and tracers of others, in their own environment.
	$(VENV)-downstream/bin/python -m pytest -o addopts=-q -W default tests/downstream

.PHONY: test-prerelease
test-prerelease: ## Run all tests with the newest pre-release of langchain-core.
	$(PYTHON) -m venv $(VENV)-prerelease
	$(VENV)-prerelease/bin/python -m pip install --quiet --editable '.[dev]'
	$(VENV)-prerelease/bin/python -m pip install --quiet --upgrade --pre langchain-core
	$(VENV)-prerelease/bin/python -m pytest $(PARALLEL)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Feed malformed bytes to the parsers for ten minutes.
	$(BIN)/python -m tests.fuzz

SOAK_REQUESTS ?= 1000000

.PHONY: soak
soak: $(VENV)/.dev ## Simulate sessions with a million requests, or SOAK_REQUESTS; takes about an hour.
	$(BIN)/python -m tests.simulation --requests $(SOAK_REQUESTS)

.PHONY: mutation
mutation: $(VENV)/.dev ## Run mutation tests on the core and list the surviving mutants; takes an hour.
	$(BIN)/python -m pip install --quiet 'mutmut>=3.8,<4'
	$(BIN)/mutmut run
	$(BIN)/mutmut results

$(VENV)/.bench: benchmarks/requirements.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

.PHONY: bench
bench: $(VENV)/.bench ## Run the benchmarks and write benchmarks/RESULTS.md; takes a few minutes.
	$(BIN)/python benchmarks/run.py

.PHONY: bench-soak
bench-soak: $(VENV)/.bench ## Make mixed calls for twenty minutes, and fail if memory or other resources grow.
	$(BIN)/python benchmarks/soak.py --loop asyncio --write
	$(BIN)/python benchmarks/soak.py --loop uvloop --write
