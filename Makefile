# make install   everything that `make up` needs, into .venv and .cache; starts nothing
# make up        the whole platform, embedded          ARGS="--port 9000" passes options on
# make demo      a tour of what runs, in a second terminal
# make test      all tests, on real servers            ARGS="-k gateway" passes options on
# make check     format, lint, types, import rules; changes nothing
# make bench     what all of it costs here              ARGS=api runs one of them
# make lock      writes the lock files anew from pyproject.toml; UPGRADE=1 takes newer versions
# make clean     removes .venv and .cache; keeps the data in .mcp-platform

.PHONY: help install up demo test check bench lock clean dev
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
PYTHON ?= >=3.11,<3.14

BIN := .venv/bin
INSTALLED := .venv/installed
DEVELOPED := .venv/developed
TEMPORAL := .cache/temporal/found
# The uv on PATH where one works, else one of the project's own.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .cache/tools/bin/uv)
UV_READY := $(filter-out uv,$(UV))
COMPILE := pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(INSTALLED) $(TEMPORAL)

up: install
	@exec $(BIN)/mcp-platform up $(ARGS)

demo: install
	@exec $(BIN)/mcp-platform demo $(ARGS)

test: install dev
	@echo "Installing the servers that tests run against"
	@tests/services/install.sh
	@exec $(BIN)/python -m pytest $(ARGS)

check: $(DEVELOPED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install dev
	@exec $(BIN)/python -m benchmarks $(ARGS)

dev: $(DEVELOPED)

# The development lock holds the other one's versions, and more.
lock: $(UV_READY)
	$(UV) $(COMPILE) --extra demo -o requirements.lock
	$(UV) $(COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock
	printf 'hatchling\nuv\n' | $(UV) $(patsubst pyproject.toml,-,$(COMPILE)) -o requirements-build.lock

clean:
	rm -rf .venv .cache

.cache/tools/bin/uv: requirements-build.lock
	@echo "Getting uv into .cache/tools"
	@python3 -m venv .cache/tools
	@.cache/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(BIN)/python: | $(UV_READY)
	@echo "Making the environment .venv"
	@$(UV) venv --quiet --allow-existing --python '$(PYTHON)' .venv

$(INSTALLED): requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages into .venv"
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --build-constraints requirements-build.lock -e .
	@$(BIN)/python -m compileall -q activities api gateway mcp_platform runner storage worker workflows
	@touch $@

$(DEVELOPED): requirements-dev.lock $(INSTALLED)
	@echo "Installing the locked development packages into .venv"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

$(TEMPORAL): $(INSTALLED)
	@echo "Finding or getting Temporal's server"
	@mkdir -p $(@D)
	@$(BIN)/python -c 'from mcp_platform.cli.temporal_program import main; raise SystemExit(main())' > $@
