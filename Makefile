# Everything runs in a virtual environment of the project's own, made on first use.
#
#   make demo     train on handwritten digits; DEMO_ARGS="--epochs 5 --out somewhere"
#   make test     run the tests; TEST_ARGS="-k views"
#   make pytorch  install PyTorch, and run the tests that compare with it
#   make browser  install Chromium (as root, on Debian) and look at pages in it
#   make docs     build the documentation site in build/docs; DOCS_ARGS="--fresh"
#   make lint types notes bench format clean

# the first Python that is new enough; PYTHON=... names another
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
SHARED ?= ../shared
# PyTorch, and what its table of operators needs
TORCH := torch==2.13.0 expecttest
# what opens pages in Chromium, and the names under which that is found
PLAYWRIGHT := playwright~=1.49
CHROMIUM := chromium chromium-browser google-chrome

DEMO_ARGS ?=
TEST_ARGS ?=
DOCS_ARGS ?=
BENCH_ARGS ?=

.PHONY: demo test pytorch browser docs lint format types notes bench clean help

help: ## what plain `make` does
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.with-train
	$(BIN)/chainrule demo $(DEMO_ARGS)

test: $(VENV)/.with-dev
	$(BIN)/python -m pytest -n auto -m "not torch and not site and not browser" $(TEST_ARGS)

pytorch: $(VENV)/.with-torch
	$(BIN)/python -m pytest -n auto -m torch $(TEST_ARGS)

browser: $(VENV)/.with-browser
	CHAINRULE_NEEDS_BROWSER=1 $(BIN)/python -m pytest -n auto -m browser tests/explain $(TEST_ARGS)

docs: $(VENV)/.with-docs
	$(BIN)/python docs/build.py $(DOCS_ARGS)
	$(BIN)/python -m pytest -m site tests/test_site.py tests/test_site_in_browser.py

lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted: make format" >&2; exit 1; }

format: $(VENV)/.with-dev
	$(BIN)/ruff format .

types: $(VENV)/.with-dev
	$(BIN)/mypy

notes: $(VENV)/.with-dev
	@if [ -d $(SHARED)/conformance ]; then $(BIN)/python $(SHARED)/conformance/notes_check.py; \
	else echo "no $(SHARED)/conformance here: nothing to check"; fi

bench: $(VENV)/.with-train
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist

# A stamp file says which extras the environment holds; it is older than pyproject.toml when they may have changed.
$(VENV)/.made:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "chainrule needs Python 3.11 or later; $(or $(PYTHON),what was found here) is not: PYTHON=/path/to/it names one" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.with-train: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	@touch $@

$(VENV)/.with-dev: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,draw,jit,train]'
	@touch $@ $(VENV)/.with-train

$(VENV)/.with-docs: pyproject.toml | $(VENV)/.with-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/.with-browser: pyproject.toml | $(VENV)/.with-dev
	@$(foreach name,$(CHROMIUM),command -v $(name) >/dev/null ||) { \
		export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq chromium; } || { \
		echo "there is no Chromium, and Debian's could not be installed: pages cannot be looked at" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PLAYWRIGHT)
	@touch $@

$(VENV)/.with-torch: pyproject.toml | $(VENV)/.with-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) || { \
		echo "$(TORCH) could not be installed: the tests that compare with PyTorch cannot run" >&2; exit 1; }
	@touch $@
