# `make help` says what there is. Everything sets up what it needs: Python 3.11 or newer and make are enough to begin with.
PROFILE ?= demo
PYTHON ?= python3
# e.g. PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu" for the smaller PyTorch without CUDA
PIP_OPTIONS ?=
# KEEP=1: train no model whose scores are in results/ with their record, so that a study goes on from a clone; notebooks beyond the
# paper that need further models, or saved ones that are not on this machine, are then left out, and named
KEEP ?=
# RETRAINED=1: `make verify` after a study was trained again here; its claims must lie within what training noise leaves
RETRAINED ?=
# where the steps run: nowhere but here, or as jobs of a cluster (CLUSTER=slurm: see profiles/slurm/config.yaml)
CLUSTER ?=
# how many cores a study may use; steps that train or score with a model go one at a time and use all of them
CORES ?= all

PY := .venv/bin/python
READY := .venv/.ready

export TOKENIZERS_PARALLELISM = false
# Another memory allocator can help CPU training; never needed. For one that is installed:
# export LD_PRELOAD = libtcmalloc_minimal.so.4

.DEFAULT_GOAL := help
.PHONY: help reproduce tables site look verify exports summary test test-slow test-all lint check-lock audit lab labs cluster-env bench lock clean distclean

help:  ## this list
	@echo "make TARGET [PROFILE=demo]      a profile is a study: $(sort $(filter-out artefacts,$(basename $(notdir $(wildcard params/*.yaml)))))"
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# .venv is made anew where it is unfinished, was moved, does not run, or has another Python than `make PYTHON=...` names
ASKED := $(if $(filter command,$(firstword $(origin PYTHON))),$(PYTHON))
STALE := $(if $(shell $(PY) tools/set_up.py --check $(ASKED) 2>/dev/null),,FORCE)

$(READY): requirements.lock pyproject.toml $(STALE)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit("Python 3.11 or newer is needed, this is %d.%d. Name another: make PYTHON=python3.12" % v if v < (3, 11) else "Python %d.%d is too new: not every package of requirements.lock has a wheel for it yet. Name another: make PYTHON=python3.13" % v if v > (3, 13) else 0)'
	@$(PYTHON) tools/set_up.py $(PIP_OPTIONS)

FORCE:

reproduce: $(READY)  ## run a study: all notebooks, tables, figures and pages; goes on where an earlier call stopped
	@$(PY) -m cyborg_utils reproduce $(PROFILE) --cores $(CORES) $(if $(KEEP),--keep) $(if $(CLUSTER),--cluster $(CLUSTER))

tables: $(READY)  ## only tables and figures (01, 05, 06, 14, 00) from the saved scores of a study; no model is trained
	@$(PY) -m cyborg_utils reproduce $(PROFILE) --cores $(CORES) --tables

site: $(READY)  ## the book of all executed studies in build/book/html, or of one with PROFILE=...; runs no notebook
	@$(PY) -m cyborg_utils site $(if $(filter-out file,$(origin PROFILE)),$(PROFILE))

look:  ## the book as a reader sees it: screenshots in build/look and axe-core's verdict; needs node, npm and Chromium
	@npm install --silent --no-audit --no-fund --prefix build/node playwright-core@1 axe-core@4
	@node tools/look.mjs build/book/html build/look

verify: $(READY)  ## rebuild a study's tables and figures from the committed scores, exactly; RETRAINED=1: hold its claims against them
	@$(PY) -m cyborg_utils verify $(PROFILE) $(if $(RETRAINED),--retrained)

exports: $(READY)  ## tables as LaTeX and Markdown and figures as SVG, in build/PROFILE/exports; no model is trained
	@$(PY) -m cyborg_utils exports $(PROFILE)

summary: $(READY)  ## what a study found, on one page: results/PROFILE/summary.md
	@$(PY) -m cyborg_utils summary $(PROFILE)

test: $(READY)  ## the fast tests, in parallel; under 3 minutes on two cores, no study is trained
	@$(PY) -m pytest -n auto --dist loadgroup -m "not slow"

test-slow: $(READY)  ## the slow tests: studies on tiny models, faults, a cluster, damaged files
	@$(PY) -m pytest -n auto --dist loadgroup -m slow

test-all: $(READY)  ## all tests
	@$(PY) -m pytest -n auto --dist loadgroup

lint: $(READY)  ## ruff on code and notebooks, the rooms' import rule, notebooks without outputs, a dry run of every study
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m nbstripout --verify --keep-id notebooks/*.ipynb notebooks/extensions/*.ipynb teaching/source/*/*.ipynb
	@mkdir -p build
	@for file in $(filter-out params/artefacts.yaml,$(wildcard params/*.yaml)); do \
		$(PY) -m cyborg_utils reproduce $$(basename $$file .yaml) --dry-run > build/dry-run.log 2>&1 || { cat build/dry-run.log; exit 1; }; \
		echo "dry run of $$file: $$(grep -m1 -E '^total|^Nothing to be done' build/dry-run.log)"; \
	done

check-lock: $(READY)  ## does requirements.lock install on Python 3.11 to 3.13, Linux and macOS? (by resolution); skipped without network
	@$(PY) tools/check_lock.py

audit:  ## known vulnerabilities of the versions in requirements.lock (pip-audit, in build/.audit); skipped without network
	@$(PYTHON) tools/audit_lock.py

lab: $(READY)  ## JupyterLab on the notebooks
	@$(PY) -m jupyterlab notebooks

labs: $(READY)  ## the labs for a course (teaching/): student versions, solutions and slides, in build/labs
	@$(PY) tools/labs.py

cluster-env: $(READY)  ## what CLUSTER=slurm and CLUSTER=kubernetes need besides: Snakemake's plugins
	@$(PY) -m pip install -qq --disable-pip-version-check $(PIP_OPTIONS) --constraint requirements.lock --editable '.[cluster]'

bench: $(READY)  ## tokens per second of Teacher and Student, and the paired bootstrap, against the plain way
	@$(PY) benchmarks/resampling.py
	@$(PY) benchmarks/speed.py

lock: $(READY)  ## write requirements.lock for every Python and platform from pyproject.toml; UPGRADE=1 takes newer versions
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11.0 --extra dev --no-annotate --custom-compile-command "make lock" \
		$(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock

clean:  ## remove what a study made and can make again (build/PROFILE: data, adapters, checkpoints, pages); results stay
	@case '$(PROFILE)' in ''|[!A-Za-z0-9_]*|*[!A-Za-z0-9_.-]*) echo "PROFILE='$(PROFILE)' is not the name of a study"; exit 1;; esac
	rm -rf 'build/$(PROFILE)'

distclean:  ## remove all of build/ and the environment .venv; results stay
	rm -rf build .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
