# Everything runs in .venv, which the first call creates and fills with plain pip.
#   make demo     the whole story on a CPU: sample, train, export, infer, bench
#   make test     make check and the default tests
#   make check    format, lint, types, import rules
#   make pytest   the default tests
#   make matrix   the long tests: every preset in every precision, run on every backend; laws on
#                 more examples
#   make docs     the documentation site, in build/site; a broken link fails
#   make test-runtime   the tests of what runs on a device, with PyTorch hidden
#   make clean    delete .venv, caches and what `make demo` wrote
# Another Python: make PYTHON=python3.12 test
# Archives of known hashes alone (Linux on x86-64, all extras but TensorRT-RTX): make HASHED=1 test

MIN_OK := import sys; sys.exit(not (3, 10) <= sys.version_info[:2])
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.10 python; do \
	if $$name -c '$(MIN_OK)' >/dev/null 2>&1; then echo $$name; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/filled
SEGX := $(BIN)/segx

DEMO := demo
BUNDLE := $(DEMO)/bundles/lf-dlm-tiny-fp32.segx
STEPS ?= 120

PINNED := import os, sys; pins = "constraints/py%d%d.txt" % sys.version_info[:2]; \
	print(pins if sys.platform == "linux" and os.path.exists(pins) else "/dev/null")
PINS = $(shell $(PYTHON) -c '$(PINNED)')
BARE_PIP = $(BIN)/python -m pip install --no-input --disable-pip-version-check -q --no-compile
PIP = $(BARE_PIP) -c $(PINS)
# Extras of the checkout; by hash all are there, and nothing else is fetched.
EXTRAS_PIP = $(if $(HASHED),: installed by hash:,$(PIP) -e)
HASHES = $(PINS:.txt=.hashes.txt)
BY_HASH = $(BARE_PIP) --require-hashes --no-deps --only-binary :all: -r $(HASHES) && \
	$(BARE_PIP) --no-index --no-deps --no-build-isolation -e .

# Python keeps what it compiled, as every process would else compile PyTorch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test pytest check matrix docs test-runtime clean venv
.DELETE_ON_ERROR:

# Whole files go to one of two processes, so that what a file prepares is prepared once; one thread
# each, as two cores have no more to give. Files that take long come first, lest one of them is left.
LONG := tests/flow tests/trainkit tests/exporter tests/segx
REST := $(filter-out $(LONG) tests/fakes tests/conftest.py tests/__pycache__,$(wildcard tests/*))

# The checks run beside the tests, as mypy alone would leave a core idle for a minute.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j 2 check pytest

pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(LONG) $(REST)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

matrix: $(STAMP)
	$(PIP) -e '.[ray,docs,lint]'
	$(BIN)/pytest -q -m "matrix or hypothesis" --hypothesis-profile=thorough

test-runtime: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --without-torch

docs: $(STAMP)
	$(EXTRAS_PIP) '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

demo: $(STAMP)
	rm -rf $(DEMO)
	$(SEGX) sample $(DEMO)/flair2
	$(SEGX) sample $(DEMO)/scene --layout scene
	$(SEGX) train $(DEMO)/flair2 --config lf-dlm-tiny --steps $(STEPS) --out $(DEMO)/run
	$(SEGX) export $(DEMO)/run --precision fp32 --out $(BUNDLE)
	$(SEGX) infer $(DEMO)/scene --bundle $(BUNDLE) --out $(DEMO)/maps
	$(SEGX) bench $(BUNDLE) --json $(DEMO)/bench.json
	@echo
	@echo "map:     $$(ls $(DEMO)/maps/*_landcover.tif)"
	@echo "report:  $(DEMO)/maps/report.json"
	@echo "bundle:  $(BUNDLE)"
	@echo "bench:   $(DEMO)/bench.json"

venv: $(STAMP)

# The versions in constraints/ were resolved on Linux; elsewhere, and for a Python without a file,
# the newest are installed. Python compiles what it imports; pip would compile all of PyTorch.
$(STAMP): pyproject.toml $(wildcard constraints/*.txt)
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(MIN_OK)' || { \
		echo "make: found $$($(or $(PYTHON),python3) --version 2>&1); segx needs Python 3.10 or newer;" \
			"install one or run: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@test $(PINS) != /dev/null || echo "no pinned versions for this system or Python: the newest"
	$(if $(HASHED),$(BY_HASH),$(EXTRAS_PIP) '.[train,export,ort,dev]')
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
