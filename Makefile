# Every target makes the environment it needs: Python 3.11 or later, git and make are enough.
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
DIST := .venv-dist
comma := ,

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest fuzz lint format docs dist clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

demo: $(VENV)/.stamp ## fit tables that scikit-learn ships, print scores, draw demo.png
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/.stamp ## run all tests and doctests
	$(VENV)/bin/python -m pytest

test-oldest: $(OLDEST)/.stamp ## run them with the oldest supported dependencies
	$(OLDEST)/bin/python -m pytest

fuzz: $(VENV)/.stamp ## try random tables and parameters for about ten minutes
	$(VENV)/bin/python -m pytest tests/test_properties.py --hypothesis-profile=fuzz

lint: $(VENV)/.stamp ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.stamp ## repair style and formatting in place
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.stamp ## run all examples, check links, build the site
	$(VENV)/bin/python -m pytest skgbnf
	$(VENV)/bin/python docs/check.py
	$(VENV)/bin/python -m sphinx -W --keep-going -q docs docs/_build/html

dist: $(VENV)/.stamp ## build sdist and wheel, install each by itself and try it
	rm -rf build dist
	$(VENV)/bin/python -m build --outdir dist
	for file in dist/*; do \
		rm -rf $(DIST) && $(PYTHON) -m venv $(DIST) && \
		$(DIST)/bin/python -m pip install --quiet --constraint constraints.txt $$file && \
		$(DIST)/bin/python -I tests/smoke.py || exit 1; \
	done

clean: ## remove environments, caches and everything generated
	rm -rf $(VENV) $(OLDEST) $(DIST) build dist *.egg-info .*_cache .hypothesis demo.png
	rm -rf docs/_build docs/gallery docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp: pyproject.toml constraints.txt
	$(call install,constraints.txt,dev$(comma)docs)

$(OLDEST)/.stamp: pyproject.toml constraints-oldest.txt
	$(call install,constraints-oldest.txt,dev)

# Make the environment around $@, install the package into it in place, with the extras named.
define install
@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	"skgbnf needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0])'
$(PYTHON) -m venv $(@D)
$(@D)/bin/python -m pip install --quiet --constraint $(1) --editable '.[$(2)]'
touch $@
endef
