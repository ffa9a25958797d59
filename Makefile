# Two commands do all set-up: `make search` and `make test`. Both are quick when repeated.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: search test lint docs clean

search: $(STAMP)  ## the main job: an accuracy/energy front for ViT-Small with experts
	$(VENV)/bin/python -m dse.search --arch vit_small --objective pareto

test: $(STAMP)  ## the whole suite, by two processes of one thread each
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)  ## what a contribution must pass beside the tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(STAMP)  ## the documentation as a site, in build/site
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(VENV)/bin/mkdocs build --strict

# Installed again whenever the project's own declaration changes.
$(STAMP): pyproject.toml $(wildcard setup.py) $(wildcard luts/_native/src/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
