# The two commands of the README: `make book` and `make test`. Both set everything up first.
# Everything they make lies inside the clone: .venv, .cache, book/_build.

# Simulated data and results; `make LATENTCORTEX_CACHE=/somewhere/else book` puts them elsewhere.
export LATENTCORTEX_CACHE := $(CURDIR)/.cache/latentcortex

# The versions that were tested together. `make CONSTRAINTS= book` goes without them.
CONSTRAINTS ?= constraints.txt

# Another interpreter than the first one found: `make PYTHON=/path/to/python3.12 test`.
ENVIRONMENT := PYTHON="$(PYTHON)" CONSTRAINTS="$(CONSTRAINTS)" GOAL="$(MAKECMDGOALS)" sh .ci/environment

# A thread that waits for another one sleeps. By default it spins, which takes the core away from the thread
# that it waits for when another process runs beside it. Read when torch is loaded, so it is set before
# Python starts; `latentcortex/__init__.py` does the same where nobody calls make. OMP_NUM_THREADS is
# the reader's: unset, the preset decides.
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY

# Nothing is fetched, and nothing is read from or written to the home folder, while the tests and
# the book run. Given in the recipes, not exported: pip should keep its own cache.
SEALED := env HF_HUB_OFFLINE=1 LATENTCORTEX_OFFLINE=1 HF_HOME="$(CURDIR)/.cache/huggingface" \
	TORCH_HOME="$(CURDIR)/.cache/torch" MPLCONFIGDIR="$(CURDIR)/.cache/matplotlib" \
	NILEARN_DATA="$(CURDIR)/.cache/nilearn" IPYTHONDIR="$(CURDIR)/.cache/ipython" \
	JUPYTER_CONFIG_DIR="$(CURDIR)/.cache/jupyter/config" \
	JUPYTER_DATA_DIR="$(CURDIR)/.cache/jupyter/data" \
	JUPYTER_RUNTIME_DIR="$(CURDIR)/.cache/jupyter/runtime"

# No script of .venv/bin is called: each names the folder it was installed in, and a clone can be moved.
RUN := .venv/bin/python -m

.PHONY: help environment book slides world-archive check-pages test lint report-prose test-floors test-colab \
	test-solutions test-real lab constraints clean

help:
	@echo "make book         build the book into book/_build/html (executes every chapter)"
	@echo "make check-pages  open every page of the built book in a real browser (PAGES='intro api': these alone)"
	@echo "make slides       write the slides of the last built book again, after a change of book/teach.md"
	@echo "make world-archive pack the scenes of the simulated world into dist/, to be published (4 minutes)"
	@echo "make test         run the tests"
	@echo "make lint         check style, formatting and spelling"
	@echo "make report-prose print words, long sentences, tables and figures of each page"
	@echo "make test-floors  run the tests with the lowest versions that pyproject.toml allows"
	@echo "make test-colab   run the chapters with Google Colab's versions (6 GB; CHAPTERS='05 06': only these)"
	@echo "make test-solutions run the solutions of each page after it (CHAPTERS='05 primer': only these)"
	@echo "make test-real    run chapters and data scripts on stand-ins of NSD and Stable Diffusion"
	@echo "make lab          open the chapters in JupyterLab"
	@echo "make constraints  write the versions that .venv holds into constraints.txt"
	@echo "make clean        remove the built book and the cache (.venv stays)"

environment:
	@$(ENVIRONMENT)

# Beside the last good book, which stays until a whole new one takes its place.
book: environment
	@$(SEALED) .venv/bin/python book/build.py

# Not part of .ci/run: it needs a browser, and installs what drives it into .cache/check-pages.
check-pages: environment
	@.venv/bin/python book/check_pages.py $(PAGES)

# From the executed chapters of the last built book: nothing is computed again.
slides: environment
	@.venv/bin/python book/slides.py

# The archive that readers may fetch instead of drawing the scenes, and its entry in the table.
world-archive: environment
	@$(SEALED) $(RUN) latentcortex.command pack-world dist

test: environment
	$(SEALED) $(RUN) pytest

lint: environment
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) codespell_lib

report-prose: environment
	@.venv/bin/python book/prose.py
	@.venv/bin/python book/prose.py --docstrings

# On Python 3.11, the lowest one, because newer ones lack wheels of some lowest versions.
test-floors:
	@mkdir -p .cache
	@python3.11 .ci/floors.py pyproject.toml > .cache/floors.txt || { \
		echo "The lowest versions are tested on Python 3.11, and python3.11 does not run here."; exit 1; }
	@VENV=.venv-floors PYTHON=python3.11 CONSTRAINTS=.cache/floors.txt GOAL=test-floors sh .ci/environment
	$(SEALED) .venv-floors/bin/python -m pytest

# Python 3.13 is Colab's. Not part of `.ci/run`: the environment takes 6 GB and some minutes.
test-colab:
	@for python in python3.13 python3.12 python3.11 none; do \
		if $$python -c 'import ensurepip, venv' >/dev/null 2>&1; then break; fi; done; \
	if [ $$python = none ]; then echo "Expected Python 3.11, 3.12 or 3.13 with venv, found none."; exit 1; fi; \
	$(SEALED) $$python .ci/colab.py $(CHAPTERS)

test-solutions: environment
	$(SEALED) .venv/bin/python book/solutions.py $(CHAPTERS)

# Not part of `.ci/run`: half an hour on two cores, a process on each. The report lies in .cache/real.
CHAPTERS_AND_PATHS := ipynb or student or cluster or folder_of_their_own
TEST_REAL := $(SEALED) LATENTCORTEX_TEST_REAL=fsaverage5 OMP_NUM_THREADS=1 $(RUN) pytest tests/test_real_study.py tests/test_first_figure.py
test-real: environment
	@$(TEST_REAL) -k "$(CHAPTERS_AND_PATHS)" & scripts=0; \
		$(TEST_REAL) -k "not ($(CHAPTERS_AND_PATHS))" || scripts=1; wait $$! && chapters=0 || chapters=1; \
		cat .cache/real/report.md; exit $$((scripts + chapters))

lab: environment
	$(RUN) jupyterlab book

# What .venv holds now, for every Python and system: uv adds what other systems need and says which.
# For newer versions, first `make CONSTRAINTS= test book`, then `make constraints`.
constraints:
	@test -x .venv/bin/python || { echo "There is no .venv yet: run \`make test\` first."; exit 1; }
	$(RUN) pip install --quiet 'uv>=0.9'
	$(RUN) pip freeze --exclude-editable > constraints.txt
	$(RUN) uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

clean:
	rm -rf book/_build book/_build.new book/_build.old .cache
	@for left in .venv .venv-floors .venv-colab; do if [ -d $$left ]; then \
		echo "Left: $$left ($$(du -sh $$left | cut -f1)). To remove it, too: rm -rf $$left"; fi; done
	@case "$(LATENTCORTEX_CACHE)" in "$(CURDIR)"/.cache/*) ;; \
		*) if [ -d "$(LATENTCORTEX_CACHE)" ]; then echo "Left: $(LATENTCORTEX_CACHE)"; fi;; esac
