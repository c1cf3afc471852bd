# Needs make and Python 3.11 or later; everything else is installed into .venv, checked by hash.
# Another Python: make install PYTHON=python3.12

PYTHON ?= python3
DATA_DIR ?=
PYTEST_ARGS ?=
SEED ?= 1
KEEP ?=
# With JSON=1: standard output is one JSON document, and pytest's own lines go to standard error.
JSON_ALONE := $(if $(JSON),--json /dev/fd/3 3>&1 >&2)

VENV := .venv
BIN := $(VENV)/bin
RUNTIME_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# The servers that play Amazon and Vault in tests have an environment of their own: their packages are none of ours.
SERVERS_VENV := .venv-servers
SERVERS_STAMP := $(SERVERS_VENV)/.installed
SERVERS_LOCK := tests/servers/servers.lock
LOCKS := requirements.lock requirements-dev.lock $(SERVERS_LOCK)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALL := $(PIP) install --no-compile --require-hashes
# Compiled here and on every core, as pip uses one; the libraries' own tests are left out.
FINISH := $(PIP) install --no-deps --no-build-isolation -e . && $(BIN)/python -m compileall -qq -j 0 \
	-x '/(tests|testing)/' $(VENV)/lib
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet
# Tests wait more than they compute: four at a time keep two cores busy.
PYTEST_PROCESSES ?= 4

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-servers demo isolated-demo compose-secrets up day test test-long load budget alert-latency chaos chaos-resting chaos-crash-points chaos-end-of-day chaos-kill drift reconcile-cost delivery chaos-judge fix joint-limits forged-approvals fuzz runaway stream-faults audit-mutations bench-audit rotate-secrets console-attacks browser deploy scale bench canaries check docs lock clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: venv ## .venv with what running needs
	@$(MAKE) --no-print-directory --silent $(RUNTIME_STAMP)

install-dev: venv ## .venv with what testing and checking need too
	@$(MAKE) --no-print-directory --silent $(DEV_STAMP)

install-servers: install-dev ## what tests start beside it in environments of their own
	@$(MAKE) --no-print-directory --silent $(SERVERS_STAMP)
	@sh tests/servers/install-packages.sh

demo: install ## the whole system on this machine with example signals, about a minute
	@$(BIN)/trading demo $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

isolated-demo: install ## the same with each worker as its own process, role and secrets, read from docker-compose.temporal.yml
	@$(BIN)/trading demo --topology isolated $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

compose-secrets: install ## random secrets for docker-compose.temporal.yml: once, and before each release, which may need new ones
	@$(BIN)/python -m workers.keys .secrets

up: install ## the whole system on this machine until Ctrl-C
	@$(BIN)/trading up $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

day: install ## a recorded day at speed 20 with the example strategy, 20 minutes (make day UNTIL=09:45: two)
	@$(BIN)/python examples/day.py $(if $(UNTIL),--until $(UNTIL)) $(if $(MARKET),--market "$(MARKET)")

test: install-servers ## the tests, on real servers; long runs have targets of their own
	$(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --dist loadfile --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

test-long: install-servers ## installations and single workers killed, retention in a bucket, the tutorial typed: too long for `make test`; 5 minutes
	$(BIN)/python -m pytest -m slow tests/faults/test_installation_killed.py tests/faults/test_installation_demo.py \
		tests/faults/test_installation_crashes.py tests/faults/test_isolated_workers_killed.py \
		tests/e2e/test_retention.py tests/e2e/test_tutorial.py tests/e2e/test_bench.py $(PYTEST_ARGS)

load: install-dev ## a thousand signals in one run, judged by the exchange's ledger
	$(BIN)/python -m pytest -m slow -s tests/load/test_thousand.py $(PYTEST_ARGS)

budget: install-dev ## the request limit: 200 placements that one cancel overtakes, and three processes that want more (JSON=1)
	@$(BIN)/python -m pytest -m slow -s tests/load/test_request_budget.py tests/e2e/test_request_budget.py \
		$(PYTEST_ARGS) $(JSON_ALONE)

alert-latency: install-dev ## from an alert's commit to Slack's and PagerDuty's receipt, a hundred times, on loopback
	$(BIN)/python -m pytest -m slow -s tests/load/test_alert_latency.py $(PYTEST_ARGS)

chaos: install ## 1000 signals while 200 processes are killed and the broker lies, judged by its ledger, under 25 minutes
	@$(BIN)/trading chaos --signals 1000 --kills 200 --mix standard --seed $(SEED) $(if $(KEEP),--keep "$(KEEP)")

chaos-end-of-day: install ## 500 partly filled orders at ten bells, a fill racing each cancel: position exact and covered, under 15 minutes
	@$(BIN)/trading chaos --end-of-day 500 --topology compact --seed $(SEED) $(if $(KEEP),--keep "$(KEEP)")

chaos-crash-points: install ## kill at every commit and broker call, before and after, three times (ONLY='*placement*')
	@$(BIN)/trading chaos --crash-points $(if $(ONLY),--only '$(ONLY)')

chaos-resting: install ## 10,000 orders at rest: what they cost idle, and how fast a burst of fills wakes them, under 25 minutes
	@$(BIN)/trading chaos --resting 10000 $(if $(KEEP),--keep "$(KEEP)")

runaway: install-dev ## 212 parents in a loop for 45 minutes of skipped time: no more orders than the limits allow; prints JSON
	$(BIN)/python -m pytest -m slow -q -s tests/e2e/test_runaway.py $(PYTEST_ARGS)

canaries: install-dev ## no secret of a real installation anywhere: both topologies, plain and encrypted (minutes); prints JSON
	$(BIN)/python -m pytest -m "slow or not slow" tests/canaries -s $(PYTEST_ARGS)

joint-limits: install ## 1000 rounds of 64 approvals at once with room for some, and again with limits lowered meanwhile (N=20)
	@$(BIN)/trading chaos --joint-limits $(or $(N),1000) --seed $(SEED) $(if $(JSON),--json)
	@$(BIN)/trading chaos --joint-limits $(or $(N),1000) --lower --seed $(SEED) $(if $(JSON),--json)

stream-faults: install-dev ## the update stream killed, hung, refused, mute, deaf, cut: nothing lost or doubled, about 5 minutes
	$(BIN)/python -m pytest -m slow -s tests/faults/test_update_stream.py $(PYTEST_ARGS)

drift: install-dev ## every kind of drift 40 times, each found and mended by one pass; 1000 passes with fills in flight, under 60 minutes
	@$(BIN)/trading chaos --drift $(or $(N),40) --seed $(SEED) $(if $(KEEP),--keep "$(KEEP)")
	$(BIN)/python -m pytest -m slow tests/e2e/test_reconciliation.py $(PYTEST_ARGS)

reconcile-cost: install-dev ## what a reconciliation costs with 1,000, 10,000 and 50,000 orders at rest, about 10 minutes
	$(BIN)/python -m benchmarks.reconcile

delivery: install ## 100,000 events on each bus, relay and consumers killed 200 times each, under 15 minutes (N=20, BUS=redis)
	@$(BIN)/trading chaos --delivery $(or $(N),200) --seed $(SEED) $(if $(BUS),--bus $(BUS)) $(if $(JSON),--json)

chaos-judge: install-dev ## the judge is judged: a run fails with the fence, the look-up or another part taken out (JSON=1)
	@$(BIN)/python -m pytest -m slow tests/chaos/test_broken.py tests/chaos/test_kill_storm.py \
		tests/chaos/test_storm.py $(PYTEST_ARGS) $(JSON_ALONE)

fix: install-dev ## the order-state matrices of FIX 4.4 appendix D: each message once, doubled, lost and found, swapped (JSON=1)
	@$(BIN)/python -m pytest tests/fix tests/unit/test_lifecycle.py tests/unit/test_lifecycle_properties.py \
		$(PYTEST_ARGS) $(JSON_ALONE)

chaos-kill: install ## 1000 kill-switch activations while orders leave, and eight with something else broken (N=20)
	@$(BIN)/trading chaos --kill-switch $(or $(N),1000) --topology compact --variants all --seed $(SEED) $(if $(KEEP),--keep "$(KEEP)")

forged-approvals: install-dev ## 500 and more forged, edited, expired and replayed approvals: none reaches the exchange, its ledger says
	@$(BIN)/python -m pytest -q -s --show-capture=no tests/forgery tests/e2e/test_forged_workflows.py $(PYTEST_ARGS)

fuzz: install-dev ## both OpenAPI documents, the gateway's and the console's: 500 good and as many bad requests to each operation (N=50)
	FUZZ_EXAMPLES=$(or $(N),500) $(BIN)/python -m pytest -m slow -q -s tests/fuzz $(PYTEST_ARGS)

console-attacks: install-dev ## guesses, replays and wrong passkeys against the console: 1,000 codes a second time, 0 taken
	$(BIN)/python -m pytest -m "slow or not slow" -s tests/web/test_guesses.py tests/web/test_passkeys.py $(PYTEST_ARGS)

browser: install-servers ## people in real Chromium: sign in, kill and release, live grant by two, cancel, follow, proof; about 2 minutes
	$(BIN)/python -m pytest -m "slow or not slow" tests/web/test_browser.py tests/web/test_browser_acts.py $(PYTEST_ARGS)

audit-mutations: install-servers ## every byte flip, and every row missing, inserted, swapped or cut off, in 1,000 sealed rows: all found and named
	$(BIN)/python -m pytest -m "slow or not slow" -s tests/audit $(PYTEST_ARGS)

rotate-secrets: install-servers ## 100 key rotations during 1000 orders, on OpenBao, Secrets Manager and files; prints JSON (N=10)
	ROTATIONS=$(or $(N),100) $(BIN)/python -m pytest -m slow -q -s tests/e2e/test_key_rotation.py $(PYTEST_ARGS)

deploy: install-dev ## a changed workflow deployed with orders in flight, on a whole installation; about 3 minutes
	$(BIN)/python -m pytest -m slow -s tests/chaos/test_deploy.py $(PYTEST_ARGS)

scale: install-dev ## orders a second with 1, 2 and 4 execution workers and a broker 300 ms away, and what an order costs; 4 minutes
	$(BIN)/python -m benchmarks.scale --write benchmarks/scale.json

bench: install ## ours, a one-activity workflow and the plain pipeline in one run: latency, throughput, open orders, start; 15 minutes (RESUME=1, OPEN='100 1000')
	$(BIN)/python -m benchmarks.bench --write benchmarks/results.json --page $(if $(RESUME),--resume) $(if $(OPEN),--open $(OPEN))

bench-audit: install-dev ## 1,000,000 audit rows: verified against read and hashed, append and sealing rates (N=50000)
	$(BIN)/python -m benchmarks.audit --rows $(or $(N),1000000)

screenshots: install-dev ## every view of the console in real Chromium, light, dark and on a phone: docs/images/ anew, about 5 minutes
	$(BIN)/python -m pytest -m slow -q tests/web/test_screenshots.py $(PYTEST_ARGS)

check: install-dev check-locks ## style, types, import rules and the lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(wildcard examples/*.py)
	$(BIN)/lint-imports

.PHONY: check-locks
check-locks: # no address, a hash for every pin, and the same versions in both
	@if grep -n '://' $(LOCKS); then \
		echo "a lock file names a host; make it again with: make lock" >&2; exit 1; fi
	@for lock in $(LOCKS); do \
		awk -v lock=$$lock '/^[^ ].*==/ && !/\\$$/ { print lock ": no hash for " $$1; bad = 1 } \
			END { exit bad }' $$lock || exit 1; done
	@grep '==' requirements.lock | while read -r pin; do grep -qxF "$$pin" requirements-dev.lock || { \
		echo "requirements-dev.lock does not hold $$pin; make both again with: make lock" >&2; exit 1; }; done

docs: install ## what is made from the code: docs/API.md, CLI.md, CONFIGURATION.md, METRICS.md, schemas/, dashboards
	@$(BIN)/python -m workers.api_docs
	@$(BIN)/python -m workers.cli_docs
	@$(BIN)/python -m workers.configuration
	@$(BIN)/python -m workers.event_schemas
	@$(BIN)/python -m workers.metric_docs
	@$(BIN)/python -m workers.dashboards

lock: install-dev ## both lock files anew from pyproject.toml (newer versions: make lock UPGRADE=--upgrade)
	$(UV_COMPILE) $(UPGRADE) --extra aws --extra vault --extra embedded --extra build --extra test --extra dev -o requirements-dev.lock
	$(UV_COMPILE) --extra aws --extra vault --extra embedded --extra build --constraint requirements-dev.lock -o requirements.lock
	$(UV_COMPILE:pyproject.toml=$(SERVERS_LOCK:.lock=.in)) $(UPGRADE) -o $(SERVERS_LOCK)

clean: ## remove .venv and every cache
	rm -rf $(VENV) $(SERVERS_VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A usable .venv stays; a half-made one, or one of a Python that is gone or too old, is made anew. What depends
# on it is a second make, which sees the files as they are after that.
.PHONY: venv
venv:
	@if ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		command -v "$(PYTHON)" >/dev/null || { \
			echo "$(PYTHON) not found: Python 3.11 or later is needed (make install PYTHON=/path/to/python3)" >&2; \
			exit 1; }; \
		"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "Python 3.11 or later is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1)" \
				"(make install PYTHON=/path/to/python3)" >&2; \
			exit 1; }; \
		"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "this Python comes without venv; on Debian and Ubuntu: sudo apt install python3-venv" >&2; \
			exit 1; }; \
		rm -rf $(VENV) && "$(PYTHON)" -m venv $(VENV); \
	fi

$(RUNTIME_STAMP): requirements.lock pyproject.toml
	@echo "installing into $(VENV), checked by hash (once; about a minute)"
	@$(INSTALL) -r requirements.lock
	@$(FINISH)
	@touch $@

$(DEV_STAMP): requirements-dev.lock pyproject.toml
	@echo "installing into $(VENV) what tests and checks need, checked by hash (once; about a minute)"
	@$(INSTALL) -r requirements-dev.lock
	@$(FINISH)
	@touch $@

$(SERVERS_STAMP): $(SERVERS_LOCK)
	@echo "installing into $(SERVERS_VENV) the servers that play Amazon and Vault in tests, checked by hash (once; some seconds)"
	@rm -rf $(SERVERS_VENV) && $(BIN)/python -m venv --without-pip $(SERVERS_VENV)
	@$(PIP) --python $(SERVERS_VENV)/bin/python install --no-compile --require-hashes --no-deps -r $(SERVERS_LOCK)
	@touch $@
