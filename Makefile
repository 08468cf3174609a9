# The two commands of the README: `make book` and `make test`. Both set everything up first.
# Everything they make lies inside the clone: .venv, .cache, book/_build.

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# The first interpreter that really runs: a version manager may leave a python3.13 on the
# path that only prints an error. Another one: make PYTHON=/path/to/python3.12
ifndef PYTHON
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if $$python -c '$(FITS)' >/dev/null 2>&1; then echo $$python; break; fi; done)
endif

# Simulated data and results; `make LATENTCORTEX_CACHE=/somewhere/else book` puts them elsewhere.
export LATENTCORTEX_CACHE := $(CURDIR)/.cache/latentcortex

# Nothing is fetched, and nothing is read from or written to the home folder, while the tests and
# the book run. Given in the recipes, not exported: pip should keep its own cache.
SEALED := env HF_HUB_OFFLINE=1 HF_HOME="$(CURDIR)/.cache/huggingface" \
	TORCH_HOME="$(CURDIR)/.cache/torch" MPLCONFIGDIR="$(CURDIR)/.cache/matplotlib" \
	NILEARN_DATA="$(CURDIR)/.cache/nilearn" IPYTHONDIR="$(CURDIR)/.cache/ipython" \
	JUPYTER_CONFIG_DIR="$(CURDIR)/.cache/jupyter/config" \
	JUPYTER_DATA_DIR="$(CURDIR)/.cache/jupyter/data" \
	JUPYTER_RUNTIME_DIR="$(CURDIR)/.cache/jupyter/runtime"

.PHONY: help book test lab clean

help:
	@echo "make book   build the book into book/_build/html (executes every chapter)"
	@echo "make test   run the tests"
	@echo "make lab    open the chapters in JupyterLab"
	@echo "make clean  remove the built book and the cache (.venv stays)"

# A build starts from nothing: pages of an earlier build would hide a chapter that failed,
# and Sphinx would not see that the package under an unchanged chapter has changed.
book: .venv/.installed
	rm -rf book/_build
	$(SEALED) .venv/bin/jupyter-book build book --path-output book \
		--config _config.yml --toc "$(CURDIR)/_toc.yml" -W --keep-going
	$(SEALED) .venv/bin/python -m pytest -q tests/test_book.py

test: .venv/.installed
	$(SEALED) .venv/bin/python -m pytest

lab: .venv/.installed
	.venv/bin/jupyter lab book

clean:
	rm -rf book/_build .cache

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Expected Python 3.11, 3.12 or 3.13, found none that runs."; \
		echo "Install one (Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.12)"; \
		echo "or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c '$(FITS)' || { echo "Expected Python 3.11, 3.12 or 3.13, got PYTHON=$(PYTHON)," \
		"which does not run or is of another version. Name another: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) runs but cannot make virtual environments: its module venv or ensurepip is missing."; \
		echo "Install it (Debian, Ubuntu: sudo apt install $(notdir $(PYTHON))-venv) and run make again."; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	.venv/bin/python -m pip install -e '.[book,test]'
	@touch $@
