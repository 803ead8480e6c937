# make demo    train the example on synthetic data and print where its report is
# make test    run linters, types and tests
# make slow    run the tests that take long, which make test leaves out
# make package build wheel and sdist into dist/, and train with each in an environment of its own
# make docs    build the documentation into site/; a warning or a dead link is an error
#
# Both make their own environment in .venv. The CPU build of PyTorch is the default;
# `make demo CUDA=cu130` takes a CUDA build, `make demo TORCH_INDEX=URL` any other index.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
CPU_INDEX = https://download.pytorch.org/whl/cpu

BIN = $(VENV)/bin
TORCH = $(VENV)/torch.stamp
EXAMPLES = $(VENV)/examples.stamp
DEV = $(VENV)/dev.stamp
DOCS = $(VENV)/docs.stamp

# The stamp holds the index the environment was made with; another one makes it anew.
MADE_WITH := $(shell cat $(TORCH) 2>/dev/null)
ifdef CUDA
TORCH_INDEX = https://download.pytorch.org/whl/$(CUDA)
endif
TORCH_INDEX ?= $(or $(MADE_WITH),$(CPU_INDEX))
ifneq ($(TORCH_INDEX),$(MADE_WITH))
.PHONY: $(TORCH)
endif

# Of all modules few are imported; those are compiled then, once.
unexport PYTHONDONTWRITEBYTECODE
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt

# A fresh environment has the built file and what it asks for. The folder has no checkout in it.
define TRAIN_WITH
$(PYTHON) -m venv --clear dist/venv
dist/venv/bin/python -m pip --disable-pip-version-check install --quiet \
	--constraint constraints.txt --extra-index-url $(TORCH_INDEX) $(1)
cd dist && venv/bin/jointprune doctor && venv/bin/python ../examples/minimal.py && \
	venv/bin/jointprune show lightning_logs/version_0 && \
	venv/bin/jointprune report lightning_logs/version_0
rm -rf dist/venv dist/lightning_logs

endef

.PHONY: help demo test units slow package docs lint format clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: $(EXAMPLES)
	$(BIN)/python -m examples.autsl_fusion

test: $(DEV)
	@$(MAKE) --no-print-directory --jobs 2 lint units

units: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

slow: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

package: $(DEV)
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(foreach built,dist/*.whl dist/*.tar.gz,$(call TRAIN_WITH,$(built)))

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

# The index is an extra one: PyTorch's builds carry a local version (2.13.0+cpu) there, which pip
# ranks above PyPI's 2.13.0, the CUDA build on Linux. Where the index has no such build or can not
# be reached, PyPI or pip's own configuration decide. What torch needs comes with the package.
$(TORCH): constraints.txt
	@echo "Making $(VENV) with PyTorch from $(TORCH_INDEX): a few minutes"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v < (3, 14) or sys.exit( \
		"Expected Python 3.10 to 3.13 but got %d.%d. Pass PYTHON=python3.12, say." % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --no-deps --extra-index-url $(TORCH_INDEX) torch
	@echo "$(TORCH_INDEX)" > $@

$(EXAMPLES): $(TORCH) pyproject.toml
	$(PIP) --editable '.[examples]'
	@touch $@

$(DEV): $(TORCH) pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch $@ $(EXAMPLES)

$(DOCS): $(TORCH) pyproject.toml
	$(PIP) --editable '.[docs]'
	@touch $@
