# The project's jobs. Each makes .venv if it is missing, and installs again only when pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/installed
DEV := $(VENV)/installed-dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
WORKERS ?= 2

.PHONY: search test test-faults test-paper test-distributed lint bench clean
.DELETE_ON_ERROR:

$(BASE): pyproject.toml  # what a run needs, and no more
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(DEV): pyproject.toml  # what the tests and checks need; a run's needs are among it
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # once, and not in each process that a test starts
	@touch $(BASE) $@

search: $(BASE)  ## search on the shipped images, retrain the found network, test it, write the report
	$(BIN)/xnas run --preset quick $(ARGS)

test: $(DEV)  ## every test that is not marked long, in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-faults: $(DEV)  ## kills, crashes, damage, full disks and hostile files, many times over; half an hour
	$(BIN)/python -m pytest tests/faults tests/golden --faults=long $(ARGS)

test-paper: $(DEV)  ## the paper's theorems over tens of thousands of games, and all of docs/theory played again; five minutes
	$(BIN)/python -m pytest tests/paper tests/unit/theory --paper=full -m "long or not long" $(ARGS)

test-distributed: $(DEV)  ## many processes and many runs, stopped and killed at random; the extra ray; half an hour
	$(BIN)/python -m pytest tests/distributed -m "long or not long" $(ARGS)

lint: $(DEV)  ## format, style, types, direction of imports, words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_words.py

bench: $(DEV)  ## speed and memory, as ratios measured in one run; nothing else should run beside it
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
