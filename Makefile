# ganline: `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run speedup test test-slow check ui doctor lock clean
.NOTPARALLEL:

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3),python3)
VENV := .venv
BIN := $(VENV)/bin
# -P: a file in the checkout that is named like a library is not taken for it.
GANLINE := $(BIN)/python -P -m ganline
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_STUDY := $(VENV)/.installed-study
INPUTS := pyproject.toml constraints.txt
# Tests of one file share what is costly to make, so they stay in one process.
WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder

# What users say reaches programs through the environment, letter by letter: make expands no $ in it, and no recipe holds
# it as text that a shell would read again. NAME counts only on the command line: some systems export one.
SAID := ACCEPT ARGS DATA FROM NAME PORT PRESET PYTHON RES WORKERS
NAMED := $(filter command%,$(origin NAME))
$(foreach name,$(SAID),$(if $(filter command%,$(origin $(name))),$(eval override $(name) := $$(value $(name)))))
$(foreach name,$(SAID),$(if $(filter undefined,$(origin $(name))),,$(eval export $(name))))

# What others export for their own work: other packages (PYTHONPATH), another repository (git's hooks), a shell's habits,
# and where and what pip installs. Where pip finds packages (index, proxy, certificates) stays as the user set it.
unexport PYTHONPATH PYTHONHOME PYTHONWARNINGS PYTHONOPTIMIZE PYTHONINSPECT PYTHONSTARTUP PYTHONPLATLIBDIR
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_OBJECT_DIRECTORY GIT_PREFIX
unexport BASH_ENV ENV CDPATH SHELLOPTS BASHOPTS POSIXLY_CORRECT
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_PLATFORM PIP_PYTHON_VERSION PIP_IMPLEMENTATION PIP_ABI
unexport PIP_CONSTRAINT PIP_BUILD_CONSTRAINT PIP_REQUIREMENT PIP_EDITABLE PIP_NO_BINARY PIP_ONLY_BINARY
# These lie in pip.conf too, and only another value outdoes them.
export PIP_USER := 0
export PIP_NO_DEPS := 0
export PIP_REQUIRE_HASHES := 0
export PIP_DRY_RUN := 0
export PIP_IGNORE_INSTALLED := 0

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: asked $(INSTALLED) ## the whole line: data, training, measuring, registry [PRESET=name | DATA=folder RES=64 NAME=mine] [ACCEPT=1]
	@exec $(GANLINE) run $${PRESET:+--preset="$$PRESET"} $${DATA:+--data="$$DATA"} $${RES:+--res="$$RES"} $(if $(NAMED),--name="$$NAME") $$([ "$${ACCEPT:-}" != 1 ] || echo --accept)

speedup: no-data asked $(INSTALLED_STUDY) ## a language-model generator, GANs in its place, and what is gained [PRESET=speedup-tiny] [ACCEPT=1]
	@exec $(GANLINE) speedup $${PRESET:+--preset="$$PRESET"} $$([ "$${ACCEPT:-}" != 1 ] || echo --accept)

# Before an install of minutes: what the command line names has to be there.
.PHONY: asked no-data
asked:
	@exec "$$PYTHON" src/ganline/doctor.py --asked
no-data:
	@$(if $(value DATA)$(value RES)$(NAMED),$(error make speedup takes no DATA, RES or NAME: to study your own images set data.source and prepare.resolution in params.yaml, or in a preset of your own))

ui: $(INSTALLED) ## the MLflow UI with runs and the model registry, on this machine only [PORT=5000]
	@exec $(GANLINE) ui $${PORT:+--port="$$PORT"}

doctor: ## what this machine has, what is missing, how to mend it
	@exec "$$PYTHON" src/ganline/doctor.py

# pytest reads its options from the environment too, and takes them apart as a shell would, without running anything.
test: $(INSTALLED_DEV) ## set up and run the tests (under 12 minutes on 2 cores)
	@PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} $$WORKERS $${ARGS:-}" exec $(BIN)/python -m pytest

test-slow: $(INSTALLED_DEV) ## real servers, browsers, kills and trainings (under 40 minutes on 2 cores)
	@PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} -m slow $$WORKERS $${ARGS:-}" exec $(BIN)/python -m pytest

check: $(INSTALLED_DEV) ## format, lint, types, declared dependencies, import directions, fast tests
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/deptry src flows
	PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} -q $$WORKERS $${ARGS:-}" exec $(BIN)/python -m pytest

lock: ## pin today's newest versions that pyproject allows in constraints.txt
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT
	"$$PYTHON" -m venv "$$folder"
	"$$PYTHON" src/ganline/doctor.py --bounds > "$$folder/bounds.txt"
	"$$folder/bin/python" -m pip install --quiet -c "$$folder/bounds.txt" $${FROM:+-c "$$FROM"} -e '.[dev]'
	{ echo "# Made by \`make lock\`: the exact versions that make run and make test install."; \
	  "$$folder/bin/python" -m pip freeze --exclude-editable | sed -E 's/^((torch|torchvision)==[^+]*)\+.*/\1/'; } > constraints.txt
	wc -l constraints.txt

clean: ## remove the environment, artifacts and work in progress; data, DVC cache and registry stay
	@rm -rf $(VENV) artifacts .ganline/work .ganline/ws .ganline/bundles .ganline/prefect .mypy_cache .ruff_cache .pytest_cache
	git worktree prune 2>/dev/null || true

# The stamps are written last. A package that a kill cut short may look installed: .installing says that one may be, and
# the environment is then made anew (pip's cache spares the downloads).
INSTALLING := $(VENV)/.installing
# Not the variable itself: make runs a recipe that names it even under -n.
SAME_MAKE := $(MAKE)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-user --target= --prefix="$$PWD/$(VENV)" \
  -c constraints.txt
# pip before 24 reads a user's `target` again when it installs what a build needs: the environment's own file outdoes it.
PIP_CONF := printf '[%s]\ntarget =\n' global install > $(VENV)/pip.conf

# An environment that came with a moved or copied checkout runs the code of the place where it was made.
ELSEWHERE := $(shell for made in $(VENV)/lib/python*/site-packages/__editable__.ganline-*.pth; do \
  [ ! -e "$$made" ] || [ "$$(cat "$$made")" -ef src ] || echo elsewhere; done)

.PHONY: anew
$(INSTALLED): $(INPUTS) $(if $(ELSEWHERE),anew)
	@"$$PYTHON" src/ganline/doctor.py --needed
	if [ -e $(INSTALLING) ]; then echo "the last install was interrupted: it starts anew"; fi
	if [ "$(ELSEWHERE)" ]; then
	  echo "$(VENV) was made for another folder (this checkout was moved or copied): it is made anew"
	  if [ -L $(VENV) ]; then rm $(VENV); fi
	fi
	if [ "$(ELSEWHERE)" ] || [ -e $(INSTALLING) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	  echo "making $(VENV) with $$PYTHON"; "$$PYTHON" -m venv --clear $(VENV)
	fi
	echo "installing exactly pinned packages (constraints.txt): some minutes; the first time this downloads 0.5 to 3 GB"
	touch $(INSTALLING)
	$(PIP_CONF)
	$(PIP_INSTALL) -e .
	rm $(INSTALLING); touch $@

# What an extra of pyproject adds: .installed-study, .installed-dev.
$(VENV)/.installed-%: $(INSTALLED)
	@if [ -e $(INSTALLING) ]; then rm -f $(INSTALLED); $(SAME_MAKE) --no-print-directory $(INSTALLED); fi
	touch $(INSTALLING)
	$(PIP_INSTALL) -e '.[$*]'
	rm $(INSTALLING); touch $@
