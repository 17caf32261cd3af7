# Everything here needs python3 (3.11 or newer, with venv and pip), make, git and a C
# compiler, and no network beyond the package index.
#
#   PYTHON   the interpreter to build the environment with   (default: python3)
#   VENV     where to build it                               (default: .venv)
#   VERIFY_VENV  where to build that of verify-kernels       (default: .venv-verify)
#   DOCS_VENV    where to build that of docs                 (default: .venv-docs)
#   NOTEBOOKS_VENV  where to build that of notebooks         (default: .venv-notebooks)
#   PACKAGE_VENV  where to build that of package             (default: .venv-package)
#   PARITY_VENV  where to build that of parity               (default: .venv-parity)
#   JOBS     test processes                                  (default: 2)
#   ARGS     further arguments of demo, tests, bench, ...    (default: none)
#   LM_ARGS  those of demo's second program, train_lm        (default: none)
#   OUT      where demo writes its plots           (default: examples/output)

PYTHON ?= python3
VENV ?= .venv
VERIFY_VENV ?= .venv-verify
DOCS_VENV ?= .venv-docs
NOTEBOOKS_VENV ?= .venv-notebooks
PACKAGE_VENV ?= .venv-package
PARITY_VENV ?= .venv-parity
JOBS ?= 2
ARGS ?=
LM_ARGS ?=
OUT ?= examples/output

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

# Two makes may set up at once: where flock exists the second waits, and finds the
# work done.
HAS_FLOCK := $(shell command -v flock 2>/dev/null)
LOCK := $(if $(HAS_FLOCK),flock $(VENV).lock,)
VERIFY_LOCK := $(if $(HAS_FLOCK),flock $(VERIFY_VENV).lock,)

DOCS_LOCK := $(if $(HAS_FLOCK),flock $(DOCS_VENV).lock,)
NOTEBOOKS_LOCK := $(if $(HAS_FLOCK),flock $(NOTEBOOKS_VENV).lock,)
PACKAGE_LOCK := $(if $(HAS_FLOCK),flock $(PACKAGE_VENV).lock,)
PARITY_LOCK := $(if $(HAS_FLOCK),flock $(PARITY_VENV).lock,)

# Tests in several processes, of which one that died is not replaced: pytest-xdist may
# then wait for ever for tests that it has handed out.
XDIST := -n $(JOBS) --max-worker-restart 0

# A process for each core needs no more threads than one; and XLA's pool of threads is
# reported to stand still for good at times, on machines of few cores. What runs on
# several threads is tested by the targets below that do not say this.
ONE_THREAD := XLA_FLAGS="--xla_cpu_multi_thread_eigen=false $(XLA_FLAGS)"

# Of tests/, what has an environment, and a target, of its own.
OWN_RUNS := $(addprefix --ignore tests/,accelerator clients devices package parity verify)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test doctest optax-suite devices accelerator clients unit thorough exhaustive parity verify-kernels check lint types bench docs serve-docs notebooks package setup setup-dev clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' \
	  | while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

demo: $(RUN_STAMP) ## Set up, then train on handwritten digits and on source code, and plot
	@echo '==> demo: python -m examples.train_digits --out $(OUT) $(ARGS)'
	@$(BIN)/python -m examples.train_digits --out $(OUT) $(ARGS)
	@echo '==> demo: python -m examples.train_lm --out $(OUT) $(LM_ARGS)'
	@$(BIN)/python -m examples.train_lm --out $(OUT) $(LM_ARGS)
	@echo '==> demo: python -m examples.summary --out $(OUT)'
	@$(BIN)/python -m examples.summary --out $(OUT)

test: doctest unit ## Set up, then run the tests

doctest: $(RUN_STAMP) ## Run the examples in the docstrings
	@echo '==> doctest: the examples in the docstrings'
	@$(ONE_THREAD) $(BIN)/python -m pytest $(XDIST) --doctest-modules jaxloss

optax-suite: $(RUN_STAMP) ## Run optax's own loss tests against jaxloss
	@echo "==> optax-suite: optax's own loss tests, run against jaxloss"
	@$(BIN)/python -m tests.optax_suite -n $(JOBS)

devices: $(RUN_STAMP) ## Run tests/devices on eight virtual devices
	@echo '==> devices: the tests over several devices, on eight virtual ones'
	@XLA_FLAGS=--xla_force_host_platform_device_count=8 \
	  $(BIN)/python -m pytest $(XDIST) tests/devices

# On what there is: without an accelerator everything is skipped. The environment needs
# the JAX of that accelerator, such as jax[cuda13]: make accelerator VENV=...
accelerator: $(RUN_STAMP) ## Run tests/accelerator: the kernels, on a GPU or a TPU
	@echo '==> accelerator: the kernels on the device that is there'
	@$(BIN)/python -m pytest --confcutdir=tests/accelerator tests/accelerator $(ARGS)

clients: $(RUN_STAMP) ## Run tests/clients: programs as users write them
	@echo '==> clients: programs as users write them, with JAX as it comes'
	@$(BIN)/python -m pytest $(XDIST) --confcutdir=tests/clients tests/clients $(ARGS)

unit: $(RUN_STAMP) ## Run tests/: what can be wrong with one loss alone
	@echo '==> unit: pytest -n $(JOBS) tests $(ARGS)'
	@$(ONE_THREAD) $(BIN)/python -m pytest $(XDIST) --dist loadgroup \
	  -m 'not thorough and not exhaustive' \
	  $(OWN_RUNS) tests $(ARGS)

thorough: $(RUN_STAMP) ## Run more of tests/: further rows, laws that compile more
	@echo '==> thorough: pytest -n $(JOBS) -m thorough tests $(ARGS)'
	@$(ONE_THREAD) $(BIN)/python -m pytest $(XDIST) --dist loadgroup \
	  -m 'thorough and not exhaustive' $(OWN_RUNS) tests $(ARGS)

exhaustive: $(RUN_STAMP) ## Run the rest of tests/: further rows, dtypes, scales, laws
	@echo '==> exhaustive: pytest -n $(JOBS) -m exhaustive tests $(ARGS)'
	@$(ONE_THREAD) $(BIN)/python -m pytest $(XDIST) --dist loadgroup -m exhaustive \
	  $(OWN_RUNS) tests $(ARGS)

parity: ## Hold the losses to torch, keras, rax, jaxopt, scikit-learn and scipy
	@$(PARITY_LOCK) $(MAKE) --no-print-directory _install-parity
	@echo '==> parity: pytest -n $(JOBS) tests/parity $(ARGS)'
	@$(PARITY_VENV)/bin/python -m pytest $(XDIST) --confcutdir=tests/parity \
	  tests/parity $(ARGS)

verify-kernels: $(RUN_STAMP) ## Compile the kernels for TPU and Hopper, on any machine
	@$(VERIFY_LOCK) $(MAKE) --no-print-directory _install-verify
	@echo '==> verify-kernels: pytest tests/verify $(ARGS)'
	@$(VERIFY_VENV)/bin/python -m pytest --confcutdir=tests/verify tests/verify $(ARGS)

check: lint types ## Check lint, format and types

lint: $(DEV_STAMP) ## ruff, and no suppression comment anywhere
	@echo '==> lint: ruff check, ruff format --check, no suppression comments'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@if grep -rnE '#[[:space:]]*(type:[[:space:]]*ignore|pyright:|noqa|ruff:|fmt:)' \
	  --include='*.py' --include='*.ipynb' \
	  jaxloss tests examples benchmarks notebooks; then \
	  echo 'suppression comments are not allowed: repair the cause'; exit 1; fi

types: $(DEV_STAMP) ## pyright on jaxloss, benchmarks and examples
	@echo '==> types: pyright'
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(RUN_STAMP) ## Time the losses against optax's; ARGS=--help lists other programs
	@echo '==> bench: python -m benchmarks $(ARGS)'
	@$(BIN)/python -m benchmarks $(ARGS)

docs: ## Build the documentation, in an environment of its own (build/site)
	@$(DOCS_LOCK) $(MAKE) --no-print-directory _install-docs
	@echo '==> docs: mkdocs build --strict'
	@DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 \
	  $(DOCS_VENV)/bin/python -m mkdocs build --strict

serve-docs: docs ## Build and serve it on http://127.0.0.1:8000
	@$(DOCS_VENV)/bin/python -m http.server --bind 127.0.0.1 --directory build/site 8000

notebooks: ## Execute the notebooks, in an environment of their own
	@$(NOTEBOOKS_LOCK) $(MAKE) --no-print-directory _install-notebooks
	@echo '==> notebooks: python notebooks/execute.py $(ARGS)'
	@$(NOTEBOOKS_VENV)/bin/python notebooks/execute.py $(ARGS)

package: ## Build wheel and sdist (build/package), and test the wheel installed
	@$(PACKAGE_LOCK) $(MAKE) --no-print-directory _install-package
	@echo '==> package: python -m build, twine check --strict'
	@rm -rf build/package && mkdir -p build
	@$(PACKAGE_VENV)/bin/python -m build --outdir build/package . > build/package.log 2>&1 \
	  || { cat build/package.log; exit 1; }
	@$(PACKAGE_VENV)/bin/python -m twine check --strict build/package/*
	@echo '==> package: pytest tests/package $(ARGS)'
	@$(PACKAGE_VENV)/bin/python -m pytest --confcutdir=tests/package tests/package $(ARGS)

setup: $(RUN_STAMP) ## Build the environment of demo, test and bench

setup-dev: $(DEV_STAMP) ## Build it with the tools of check too

clean: ## Remove the environment, the caches and what the examples wrote
	rm -rf $(VENV) $(VENV).lock $(VERIFY_VENV) $(VERIFY_VENV).lock \
	  $(DOCS_VENV) $(DOCS_VENV).lock $(NOTEBOOKS_VENV) $(NOTEBOOKS_VENV).lock \
	  $(PACKAGE_VENV) $(PACKAGE_VENV).lock $(PARITY_VENV) $(PARITY_VENV).lock \
	  build dist examples/output
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): pyproject.toml
	@$(LOCK) $(MAKE) --no-print-directory _install STAMP=$@ EXTRAS=tests,examples,benchmarks

$(DEV_STAMP): pyproject.toml | $(RUN_STAMP)
	@$(LOCK) $(MAKE) --no-print-directory _install STAMP=$@ EXTRAS=dev

.PHONY: _install
_install:
	@if [ $(STAMP) -nt pyproject.toml ]; then exit 0; fi; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'jaxloss needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 1; }; \
	if [ ! -x $(BIN)/python ]; then \
	  echo '==> $(VENV): a new virtual environment'; $(PYTHON) -m venv $(VENV); fi; \
	echo '==> $(VENV): installing jaxloss[$(EXTRAS)], editable'; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[$(EXTRAS)]'; \
	touch $(STAMP)

# The compilers for TPU and CUDA, without driver, CUDA libraries or cuDNN, for the JAX
# of the main environment.
.PHONY: _install-verify
_install-verify:
	@version="$$($(BIN)/python -c 'import jax; print(jax.__version__)')"; \
	stamp="$(VERIFY_VENV)/.installed-$$version"; \
	if [ "$$stamp" -nt pyproject.toml ]; then exit 0; fi; \
	if [ ! -x $(VERIFY_VENV)/bin/python ]; then \
	  echo '==> $(VERIFY_VENV): a new virtual environment'; \
	  $(PYTHON) -m venv $(VERIFY_VENV); fi; \
	echo "==> $(VERIFY_VENV): installing jaxloss[verify], editable, with JAX $$version"; \
	$(VERIFY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[verify]' "jax==$$version" \
	  && $(VERIFY_VENV)/bin/python -c 'import libtpu, jax_plugins.xla_cuda13' || { \
	  echo 'verify-kernels: the compilers for TPU and CUDA cannot be installed here:'; \
	  echo "jax[tpu,cuda13-local]==$$version, nvidia-cuda-nvcc, nvidia-nvvm (Linux)."; \
	  echo 'Nothing was verified.'; exit 1; }; \
	touch "$$stamp"

.PHONY: _install-docs
_install-docs:
	@if [ $(DOCS_VENV)/.installed -nt pyproject.toml ]; then exit 0; fi; \
	if [ ! -x $(DOCS_VENV)/bin/python ]; then \
	  echo '==> $(DOCS_VENV): a new virtual environment'; \
	  $(PYTHON) -m venv $(DOCS_VENV); fi; \
	echo '==> $(DOCS_VENV): installing jaxloss[docs], editable'; \
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[docs]'; \
	touch $(DOCS_VENV)/.installed

.PHONY: _install-notebooks
_install-notebooks:
	@if [ $(NOTEBOOKS_VENV)/.installed -nt pyproject.toml ]; then exit 0; fi; \
	if [ ! -x $(NOTEBOOKS_VENV)/bin/python ]; then \
	  echo '==> $(NOTEBOOKS_VENV): a new virtual environment'; \
	  $(PYTHON) -m venv $(NOTEBOOKS_VENV); fi; \
	echo '==> $(NOTEBOOKS_VENV): installing jaxloss[notebooks], editable'; \
	$(NOTEBOOKS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[notebooks]'; \
	touch $(NOTEBOOKS_VENV)/.installed

.PHONY: _install-parity
_install-parity:
	@if [ $(PARITY_VENV)/.installed -nt pyproject.toml ]; then exit 0; fi; \
	if [ ! -x $(PARITY_VENV)/bin/python ]; then \
	  echo '==> $(PARITY_VENV): a new virtual environment'; \
	  $(PYTHON) -m venv $(PARITY_VENV); fi; \
	echo '==> $(PARITY_VENV): installing jaxloss[parity], editable'; \
	$(PARITY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[parity]'; \
	touch $(PARITY_VENV)/.installed

# What builds, and what looks at what was built: jaxloss itself is not installed here.
.PHONY: _install-package
_install-package:
	@if [ $(PACKAGE_VENV)/.installed -nt Makefile ]; then exit 0; fi; \
	if [ ! -x $(PACKAGE_VENV)/bin/python ]; then \
	  echo '==> $(PACKAGE_VENV): a new virtual environment'; \
	  $(PYTHON) -m venv $(PACKAGE_VENV); fi; \
	echo '==> $(PACKAGE_VENV): installing build, twine, packaging and pytest'; \
	$(PACKAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  build 'packaging>=25' 'pytest>=9' twine; \
	touch $(PACKAGE_VENV)/.installed
