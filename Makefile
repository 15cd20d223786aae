# Every target makes the environment it needs: Python 3.11 or later, git and make are enough.
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
DIST := .venv-dist

# On all cores, a process each; a test that is left over goes to whichever process is free.
# Arithmetic on one thread, lest the processes wait for each other.
PARALLEL := --numprocesses auto --dist worksteal
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest
SPHINX := $(VENV)/bin/python -m sphinx -W --keep-going -q

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-oldest fuzz lint format html docs dist clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

demo: $(VENV)/.demo ## in about 70 seconds: fit three tables, print scores, draw demo.png
	@echo 'Importing torch and scikit-learn, a few seconds.'
	@$(VENV)/bin/python examples/demo.py

quick: lint ## lint, then one test of each kind, in a minute
	$(PYTEST) $(PARALLEL) -m quick

test: $(VENV)/.test ## run all tests and doctests on all cores
	$(PYTEST) $(PARALLEL)

test-oldest: $(OLDEST)/.test ## run them with the oldest supported dependencies
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(PARALLEL)

fuzz: $(VENV)/.test ## try random tables and parameters for about ten minutes
	$(PYTEST) tests/test_properties.py --hypothesis-profile=fuzz

lint: $(VENV)/.dev ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.dev ## repair style and formatting in place
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

html: $(VENV)/.docs ## build the pages of the site, without running the gallery
	$(SPHINX) -D plot_gallery=0 docs docs/_build/html

docs: html ## build the site, run all examples, check links, code, formulas and pictures
	$(PYTEST) skgbnf
	$(VENV)/bin/python docs/check.py
	$(SPHINX) docs docs/_build/html
	$(VENV)/bin/python docs/check_site.py docs/_build/html

dist: $(VENV)/.dev ## build sdist and wheel, install each by itself and try it
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

# One environment, which grows: a file in it stands for each set of packages that it has.

$(VENV)/.demo: pyproject.toml constraints.txt
	$(call create)
	$(call install,the package and two extras (torch is most of the download),constraints.txt,demo)

$(VENV)/.test: $(VENV)/.demo
	$(call install,pytest and the optional packages that tests need,constraints.txt,test)

$(VENV)/.dev: $(VENV)/.test
	$(call install,tools that check style and types and that build packages,constraints.txt,dev)

$(VENV)/.docs: $(VENV)/.test
	$(call install,sphinx and its extensions,constraints.txt,docs)

$(OLDEST)/.test: pyproject.toml constraints-oldest.txt
	$(call create)
	$(call install,the package and what tests need at their oldest,constraints-oldest.txt,test)

# Make the environment around $@.
define create
@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	"skgbnf needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0])'
@echo 'Making an environment in $(@D) with $(PYTHON).'
@$(PYTHON) -m venv $(@D)
endef

# Say what is installed, install the package in place with an extra, and note it by touching $@.
define install
@echo 'Installing into $(@D): $(1).'
@$(@D)/bin/python -m pip install --quiet --constraint $(2) --editable '.[$(3)]'
@touch $@
endef
