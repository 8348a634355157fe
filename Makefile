# Thin: what these start is Python in the project. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
DVC_VERSION := 3.67.1
TOOLS := $(abspath $(if $(ACCIDENT_RECO_HOME),$(ACCIDENT_RECO_HOME),.accident_reco))/tools
BIN := .venv/bin
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet

export ACCIDENT_RECO_ACCIDENTS_SOURCE := $(if $(ACCIDENTS),$(ACCIDENTS),$(ACCIDENT_RECO_ACCIDENTS_SOURCE))
export ACCIDENT_RECO_MOVIES_SOURCE := $(if $(MOVIES),$(MOVIES),$(ACCIDENT_RECO_MOVIES_SOURCE))
ifeq ($(ACCIDENT_RECO_ACCIDENTS_SOURCE),)
unexport ACCIDENT_RECO_ACCIDENTS_SOURCE
endif
ifeq ($(ACCIDENT_RECO_MOVIES_SOURCE),)
unexport ACCIDENT_RECO_MOVIES_SOURCE
endif

.PHONY: help install up pipeline stack drift-demo test mutants lint dvc bench docs lock

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## make the environment in .venv from the lock file

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("accident_reco needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@

up: install ## fill and start the whole platform; ACCIDENTS=… and MOVIES=… choose the data
	@$(BIN)/python -m accident_reco.launch up

pipeline: install ## materialize what is missing, without servers
	@$(BIN)/python -m accident_reco.launch pipeline

stack: install ## the whole platform on PostgreSQL, S3, MLflow, Prometheus and Alertmanager, without containers
	@$(BIN)/python -m accident_reco.launch stack

drift-demo: install ## the closed loop before your eyes: drift, training, gate, promotion, back-off
	@$(BIN)/python -m accident_reco.launch.demo

backup: install ## save databases and objects; TO=DIRECTORY
	@$(BIN)/python -m accident_reco.launch.backup save "$(TO)"

restore: install ## bring a backup back into an empty installation; FROM=DIRECTORY
	@$(BIN)/python -m accident_reco.launch.backup restore "$(FROM)"

lint: install ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, types, import rules and all tests
	@# What fails beside others runs again alone: real servers on two cores may miss a deadline. Failing twice is red.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder || $(BIN)/python -m pytest --last-failed --last-failed-no-failures none

mutants: install ## change the decisions and see that their tests fail; NAMES="gate retrain" for some of them
	$(BIN)/python -m accident_reco_tests.mutants $(NAMES)

dvc: install ## install DVC, a tool of its own, for versions of training inputs
	UV_TOOL_DIR=$(TOOLS) UV_TOOL_BIN_DIR=$(TOOLS)/bin $(BIN)/uv tool install --quiet --constraints requirements-dvc.lock 'dvc[s3]'

bench: install ## measure speed and memory, both sides of each comparison in one run
	$(BIN)/python -m accident_reco_tests.bench.predict
	$(BIN)/python -m accident_reco_tests.bench.memory
	$(BIN)/python -m accident_reco_tests.bench.movies
	$(BIN)/python -m accident_reco_tests.bench.movies_training
	$(BIN)/python -m accident_reco_tests.bench.accidents $(ACCIDENTS)
	$(BIN)/python -m accident_reco_tests.bench.drift_vs_evidently

docs: install ## make the reference part of the README from the code
	@$(BIN)/python -m accident_reco_tests.docs.reference

lock: install ## resolve the lock files anew: the platform's from pyproject.toml, DVC's by its version
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK) --output-file requirements.lock
	echo 'dvc[s3]==$(DVC_VERSION)' | $(BIN)/uv pip compile - $(LOCK) --output-file requirements-dvc.lock
