# Two commands matter: `make demo` and `make test`. `make` alone lists the others.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.agui-stamp

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up --------------------------------------------------------------------------------------------------------

$(READY): requirements/dev.txt dev/uv.txt pyproject.toml app/pyproject.toml localgcp/pyproject.toml dev/agui_dev/setup/venv.py
	@$(PYTHON) dev/agui_dev/bootstrap.py --only venv
	@touch $@

NPM := frontend/node_modules/.agui-stamp
$(NPM): frontend/package-lock.json frontend/package.json frontend/.npmrc | $(READY)
	@$(PYTHON) dev/agui_dev/bootstrap.py --only npm
	@touch $@

.PHONY: setup
setup: $(READY) ## everything that the other targets need (they ask for it themselves)
	@$(PYTHON) dev/agui_dev/bootstrap.py

.PHONY: controlplane
controlplane: $(READY) ## etcd, kube-apiserver, kube-controller-manager, kubectl: found, downloaded or built once
	@$(PY) -m agui_dev.controlplane build

# --- run -----------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(READY) controlplane ## play the whole story on this machine; EXIT=1: stop at the end and say if all went well
	@$(PY) -m agui_dev.demo $(if $(EXIT),--exit,)

.PHONY: bundle
bundle: $(READY) $(NPM) ## the browser application as a release bundle: build/bundles/
	@$(PY) -m agui_dev.bundle

.PHONY: images
images: $(READY) ## the container images, with buildah and as root; no daemon (docs/images.md)
	@$(PY) -m agui_dev.images build

.PHONY: bench
bench: $(READY) $(NPM) controlplane ## measure speed and size (GROUPS="app frontend": some of it); writes build/bench.json
	@$(PY) -m agui_dev.bench $(GROUPS)

# --- prove ---------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(READY) $(NPM) controlplane ## checks and all tests, with coverage (PART="unit app": these alone); the last line counts
	@$(PY) -m agui_dev.suite $(PART)

.PHONY: test-unit test-properties test-attack test-contract test-app test-frontend test-integration test-faults test-e2e
test-unit: $(READY) ## pure functions and single modules: seconds
	@$(PY) -m agui_dev.suite unit
test-properties: $(READY) ## promises over every world and generated input
	@$(PY) -m agui_dev.suite properties
test-attack: $(READY) ## payloads of hostile tenants: memory, time and content are bounded
	@$(PY) -m agui_dev.suite attack
test-contract: $(READY) ## Google's own clients against the local Google Cloud
	@$(PY) -m agui_dev.suite contract
test-integration: $(READY) controlplane ## on a real API server
	@$(PY) -m agui_dev.suite integration
test-faults: $(READY) controlplane ## kill points and injected faults
	@$(PY) -m agui_dev.suite faults
test-app: $(READY) ## the application: real processes on a real PostgreSQL, killed, cut off and attacked
	@$(PY) -m agui_dev.suite app
test-frontend: $(READY) $(NPM) ## the browser application: components, and flows in Chromium
	@$(PY) -m agui_dev.suite frontend
test-e2e: $(READY) $(NPM) controlplane ## the whole system, real processes
	@$(PY) -m agui_dev.suite e2e

.PHONY: campaign
campaign: $(READY) controlplane ## rollouts under random deaths, outages and hands (RUNS=200 SEED=1); 1 if one deviates
	@$(PY) -m agui_dev.campaign --runs $(or $(RUNS),200) --seed $(or $(SEED),1)

.PHONY: check
check: $(READY) $(NPM) ## ruff, mypy, import-linter, Biome, tsc, and that generated files are up to date
	@$(PY) -m agui_dev.suite check

.PHONY: verify
verify: $(READY) ## what a newcomer gets: clone the last commit into an empty folder, run `make test` and `make demo EXIT=1` there
	@clone=$$(mktemp -d)/agui; git clone --quiet . "$$clone"; \
	$(MAKE) -C "$$clone" test; $(MAKE) -C "$$clone" demo EXIT=1; rm -rf "$$(dirname "$$clone")"

# --- keep ----------------------------------------------------------------------------------------------------------

.PHONY: generate
generate: $(READY) ## rewrite what is generated: CRDs, API reference
	@$(PY) -m agui_dev.generate

.PHONY: format
format: $(READY) ## format and fix what a machine can
	@.venv/bin/ruff check --fix --quiet && .venv/bin/ruff format --quiet

.PHONY: requirements
requirements: $(READY) ## recompile the hash-checked requirement lists (UPGRADE=1: to newer versions)
	@$(PY) -m agui_dev.requirements

.PHONY: audit
audit: $(READY) ## compare the pinned versions with public advisories; 1: some found, 2: no database could be reached
	@$(PY) -m agui_dev.audit

.PHONY: clean
clean: ## remove what tests, checks and demo wrote (the environment and the control plane's programs stay)
	@rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## `clean`, and the virtual environment too
	@rm -rf .venv
