# Short commands for the project's Python programs; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
DVC_VERSION := 3.67.1
SPARK_VERSION := 4.1.4
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

.PHONY: help install up pipeline stack drift-demo backup restore test test-unit mutants lint dvc spark bench docs docs-serve pictures lock

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## create the environment .venv from the lock file

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("accident_reco needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@

up: install ## materialize what is missing and start the platform; ACCIDENTS=… and MOVIES=… choose the data
	@$(BIN)/accident-reco up

pipeline: install ## materialize what is missing, without servers
	@$(BIN)/accident-reco pipeline

stack: install ## start the platform on PostgreSQL, S3, MLflow, Prometheus and Alertmanager, without containers
	@$(BIN)/accident-reco stack

drift-demo: install ## demonstrate the closed loop: drift, training, gate, promotion, back-off
	@$(BIN)/accident-reco demo

backup: install ## back up databases and objects; TO=DIRECTORY
	@$(BIN)/accident-reco backup "$(TO)"

restore: install ## restore a backup into an empty installation; FROM=DIRECTORY
	@$(BIN)/accident-reco restore "$(FROM)"

lint: install ## check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports & imports=$$!; $(BIN)/mypy; code=$$?; wait $$imports && exit $$code

test: lint ## check style, types and import rules, run all tests; WORKERS=3 at once instead of 2
	$(BIN)/python -m accident_reco_tests.second_try -n $(or $(WORKERS),2) --dist loadfile --no-loadscope-reorder

test-unit: install ## run the unit tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not e2e" accident_reco_tests/unit

mutants: install ## change the decisions and see that their tests fail; NAMES="gate retrain" for some of them
	$(BIN)/python -m accident_reco_tests.mutants $(NAMES)

dvc: install ## install DVC, in an environment of its own, for versions of training inputs
	UV_TOOL_DIR=$(TOOLS) UV_TOOL_BIN_DIR=$(TOOLS)/bin $(BIN)/uv tool install --quiet --constraints requirements-dvc.lock 'dvc[s3]'

spark: install ## install PySpark (434 MB) into .venv, for trainings on a cluster; needs Java
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements-spark.lock

bench: install ## compare speed and memory with peers; NAMES="noop drift" for some, OUT=DIRECTORY for table and plot
	@$(BIN)/accident-reco bench $(foreach name,$(NAMES),--only $(name)) $(if $(OUT),--out "$(OUT)")

docs: install ## regenerate the reference pages and build the documentation site into build/docs
	@$(BIN)/python -m accident_reco_tests.docs.reference
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/mkdocs.yml

docs-serve: install ## show the documentation site on http://127.0.0.1:8003
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --config-file docs/mkdocs.yml --dev-addr 127.0.0.1:8003

pictures: install ## make the pictures of the documentation again; needs Debian's chromium
	@$(BIN)/python -m accident_reco_tests.docs.pictures

lock: install ## resolve the lock files: the platform's from pyproject.toml, DVC's and PySpark's from their versions
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK) --output-file requirements.lock
	echo 'dvc[s3]==$(DVC_VERSION)' | $(BIN)/uv pip compile - $(LOCK) --output-file requirements-dvc.lock
	echo 'pyspark==$(SPARK_VERSION)' | $(BIN)/uv pip compile - $(LOCK) --output-file requirements-spark.lock
