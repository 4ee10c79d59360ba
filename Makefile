# `make` or `make help` lists the targets.
SHELL := /bin/bash
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run check format test test-fast bench soak crashes streams fleet requirements \
	docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' \
		| while IFS='|' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

setup: ## install what is missing: .venv, pinned packages, the system's programs
	@tools/setup

run: setup ## the demo: a branch, its VM, Claude Code at work inside, a commit, all gone again
	@.venv/bin/tachikoma demo

check: ## format, lint, types, imports, the tree's own rules, generated pages (under a minute)
	@tools/setup python
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) tools/check_tree.py
	$(PY) tools/reference.py --check

format: ## format the code and repair what the linter can
	@tools/setup python
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: ## write the generated pages anew
	@tools/setup python
	$(PY) tools/reference.py

# Compiled once is compiled for every process that tests start; `make clean` takes it away again.
unexport PYTHONDONTWRITEBYTECODE

# Each of these tests has a directory of its own: a disk takes longer for that than most tests. In
# memory then, where there is plenty, and there nothing stays of what went well.
MEMORY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 1000000 {print $$6}')
FAST := $(if $(MEMORY),PYTEST_DEBUG_TEMPROOT=$(MEMORY)) $(PY) -m pytest -n auto \
	-o tmp_path_retention_policy=failed --ignore=tests/live -m 'not live and not live_qemu'

test: setup ## every test, the slow ones with real virtual machines last (under 15 minutes)
	$(FAST) --hypothesis-profile=many
	$(PY) -m pytest -n 2 --dist worksteal --durations=15 -m 'live or live_qemu'

test-fast: ## the tests that start nothing real (under 20 seconds)
	@tools/setup python
	$(FAST)

bench: setup ## measure, one line a figure; also in build/bench.json
	@tools/setup bench
	$(PY) -m bench

soak: setup ## 30 new VMs in a row, images, more of makima (SOAK_ROUNDS=n for n; minutes)
	$(PY) -m pytest tests/soak/spawns.py tests/soak/images.py tests/soak/agent.py tests/soak/makima.py \
		tests/soak/chain.py

crashes: setup ## the makima daemon and all it needs, killed at random (CRASH_ROUNDS=n; a quarter hour)
	$(PY) -m pytest tests/soak/crashes.py

streams: setup ## a thousand event streams through one proxy, which is killed in the end (a minute)
	$(PY) -m bench.streams

fleet: setup ## a thousand daemons and 200 tasks a second at one relay (a minute and a half)
	$(PY) -m bench.relay

requirements: ## pin the dependencies anew (tools/requirements --upgrade takes newer ones)
	@tools/setup python
	tools/requirements

clean: ## remove what was built here; VMs, images and settings of users stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find tachikoma tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
