# ganline: `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run speedup test test-slow check ui doctor lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_STUDY := $(VENV)/.installed-study
INPUTS := pyproject.toml constraints.txt
# Tests of one file share what is costly to make, so they stay in one process.
WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(INSTALLED) ## the whole line: data, training, measuring, registry [PRESET=name | DATA=folder RES=64 NAME=mine] [ACCEPT=1]
	@exec $(BIN)/ganline run $(if $(PRESET),--preset "$(PRESET)") $(if $(DATA),--data "$(DATA)") $(if $(RES),--res "$(RES)") $(if $(filter command%,$(origin NAME)),--name "$(NAME)") $(if $(ACCEPT),--accept)

speedup: $(INSTALLED_STUDY) ## a language-model generator, GANs in its place, and what is gained [PRESET=speedup-tiny] [ACCEPT=1]
	@$(if $(DATA)$(RES)$(filter command%,$(origin NAME)),$(error make speedup takes no DATA, RES or NAME: to study your own images set data.source and prepare.resolution in params.yaml, or in a preset of your own))
	exec $(BIN)/ganline speedup $(if $(PRESET),--preset "$(PRESET)") $(if $(ACCEPT),--accept)

ui: $(INSTALLED) ## the MLflow UI with runs and the model registry, on this machine only [PORT=5000]
	@exec $(BIN)/ganline ui $(if $(PORT),--port $(PORT))

doctor: ## what this machine has, what is missing, how to mend it
	@exec $(PYTHON) src/ganline/doctor.py

test: $(INSTALLED_DEV) ## set up and run the tests (under 12 minutes on 2 cores)
	@exec $(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-slow: $(INSTALLED_DEV) ## real servers, browsers, kills and trainings (under 40 minutes on 2 cores)
	@exec $(BIN)/python -m pytest -m slow $(WORKERS) $(ARGS)

check: $(INSTALLED_DEV) ## format, lint, types, declared dependencies, import directions, fast tests
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/deptry src flows
	$(BIN)/python -m pytest -q $(WORKERS) $(ARGS)

lock: ## pin today's newest versions that pyproject allows in constraints.txt
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT
	$(PYTHON) -m venv "$$folder"
	$(PYTHON) src/ganline/doctor.py --bounds > "$$folder/bounds.txt"
	"$$folder/bin/pip" install --quiet -c "$$folder/bounds.txt" $(if $(FROM),-c $(FROM)) -e '.[dev]'
	{ echo "# Made by \`make lock\`: the exact versions that make run and make test install."; \
	  "$$folder/bin/pip" freeze --exclude-editable | sed -E 's/^((torch|torchvision)==[^+]*)\+.*/\1/'; } > constraints.txt
	wc -l constraints.txt

clean: ## remove the environment, artifacts and work in progress; data, DVC cache and registry stay
	@rm -rf $(VENV) artifacts .ganline/work .ganline/ws .ganline/bundles .ganline/prefect .mypy_cache .ruff_cache .pytest_cache
	git worktree prune 2>/dev/null || true

# The stamps are written last. A package that a kill cut short may look installed: .installing says that one may be, and
# the environment is then made anew (pip's cache spares the downloads).
INSTALLING := $(VENV)/.installing
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# An environment that came with a moved or copied checkout runs the code of the place where it was made.
ELSEWHERE := $(shell for made in $(VENV)/lib/python*/site-packages/__editable__.ganline-*.pth; do \
  [ ! -e "$$made" ] || [ "$$(cat "$$made")" -ef src ] || echo elsewhere; done)

.PHONY: anew
$(INSTALLED): $(INPUTS) $(if $(ELSEWHERE),anew)
	@$(PYTHON) src/ganline/doctor.py --needed
	if [ -e $(INSTALLING) ]; then echo "the last install was interrupted: it starts anew"; fi
	if [ "$(ELSEWHERE)" ]; then
	  echo "$(VENV) was made for another folder (this checkout was moved or copied): it is made anew"
	  if [ -L $(VENV) ]; then rm $(VENV); fi
	fi
	if [ "$(ELSEWHERE)" ] || [ -e $(INSTALLING) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	  echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV)
	fi
	echo "installing exactly pinned packages (constraints.txt): some minutes; the first time this downloads 0.5 to 3 GB"
	touch $(INSTALLING)
	$(PIP_INSTALL) -e .
	rm $(INSTALLING); touch $@

# What an extra of pyproject adds: .installed-study, .installed-dev.
$(VENV)/.installed-%: $(INSTALLED)
	@if [ -e $(INSTALLING) ]; then rm -f $(INSTALLED); $(MAKE) --no-print-directory $(INSTALLED); fi
	touch $(INSTALLING)
	$(PIP_INSTALL) -e '.[$*]'
	rm $(INSTALLING); touch $@
