# Everything is set up on first use, in a virtual environment of its own; needs Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

$(BIN)/python:
	@echo 'Setting up $(VENV), which takes a minute or two'
	@$(PYTHON) -m venv $(VENV)

# What `make demo` needs, and what all the rest needs.
$(VENV)/.emulator: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[emulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.emulator

.PHONY: help
help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 13

.PHONY: demo
demo: $(VENV)/.emulator ## A tour in the terminal: on the local emulator, or on the real service with a key.
	@$(BIN)/python examples/demo.py

.PHONY: test
test: $(VENV)/.dev ## Run all tests.
	$(BIN)/python -m pytest

.PHONY: live
live: $(VENV)/.dev ## Ask the real service what no document tells, with your key; some fifty small calls.
	$(BIN)/python -m pytest tests/live -m live -rs

.PHONY: coverage
coverage: $(VENV)/.dev ## Run all tests, and tell which lines and branches they reach; takes longer.
	$(BIN)/python -m pytest --cov --cov-report=term

.PHONY: lint
lint: $(VENV)/.dev ## Check style.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: typecheck
typecheck: $(VENV)/.dev ## Check types.
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Mend style where that can be done automatically.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: check
check: lint typecheck test ## All of the above that can fail.

.PHONY: notebooks
notebooks: $(VENV)/.dev ## Execute the notebooks, to see that they run.
	$(BIN)/python notebooks/execute.py

.PHONY: build
build: $(VENV)/.dev ## Build wheel and sdist into dist/, review them, and try the wheel in empty environments.
	$(BIN)/python .ci/distribution.py

TESTS_ON_LOWEST := chat_models/test_application_kinds chat_models/test_call_styles chat_models/test_secrets \
	chat_models/test_serialization emulator/test_completion test_doctor transport/test_error_classes \
	transport/test_odd_servers

.PHONY: test-lowest
test-lowest: ## Run the unit tests and some others with the lowest dependencies allowed.
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --editable . $$($(PYTHON) .ci/lowest.py) \
		pytest pytest-asyncio hypothesis trustme
	$(VENV)-lowest/bin/python -m pytest -o addopts="-q -m 'not live'" tests/unit_tests \
		$(TESTS_ON_LOWEST:%=tests/integration_tests/%.py)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Ten minutes of hostile bytes for what reads the wire.
	$(BIN)/python -m tests.fuzz

.PHONY: mutation
mutation: $(VENV)/.dev ## Change the core here and there, and list the changes that no test notices; an hour.
	$(BIN)/python -m pip install --quiet 'mutmut>=3.8,<4'
	$(BIN)/mutmut run
	$(BIN)/mutmut results

$(VENV)/.bench: benchmarks/requirements.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

.PHONY: bench
bench: $(VENV)/.bench ## Measure for some minutes, and write benchmarks/RESULTS.md.
	$(BIN)/python benchmarks/run.py
