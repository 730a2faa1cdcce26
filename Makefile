# make search  installs, gets the data, searches, prints the table
# make report  the report of a real search, as a page for a browser; RUN=runs/a of another
# make test    installs, gets the data, runs the tests
# make test-long  the tests that take longest, which make test leaves out
# make browser  fetches the browser that opens a report in the tests, where the machine has none
# make cluster-test  searches on several hosts, in a lab on this machine, and what they survive
# make storm   kills the processes of two searches a hundred times, and says what that cost
# make bench   times an epoch: fit, the fast epoch, the matrix products alone
# make race    this project beside keras-tuner, Ray Tune and Optuna, each with the same time budget
# make scale   how many workers one driver serves
# make settings  which settings of a search find more
# make accuracy  the best of a long search on five new seeds, beside the published configuration
# make check   style and types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# GPU=1 installs CUDA too, for a machine with an NVIDIA GPU.
LOCK := requirements$(if $(GPU),-gpu).lock
INSTALLED := $(VENV)/.installed$(if $(GPU),-gpu)
NOW := $(shell date +%Y%m%d-%H%M%S)
OUT ?= runs/wide-$(NOW)
SEARCH_PLAN ?= --space wide --trials 24 --time-budget 300 --retrain-epochs 20

# The tests get a network of their own, with loopback alone, where the system allows it; when they
# end, every process in it ends too.
# The lab of several hosts takes real root, where that is had.
USERS := $(if $(filter 0,$(shell id -u)),,--user --map-root-user)
ISOLATE := unshare $(USERS) --net --mount --pid --fork --mount-proc --kill-child
ISOLATED = $(ISOLATE) sh -c 'ip link set lo up && exec "$$@"' sh

# Two at a time: much of a test is waiting for a process to start. Groups: tests/conftest.py.
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m $(TIER)
TIER = "not long"

.PHONY: setup data search report screenshots lab browser test test-long cluster-test storm check bench race scale settings \
	accuracy lock clean

setup: $(INSTALLED)

$(INSTALLED): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1): expected Python 3.11, 3.12 or" \
		"3.13. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV) (some minutes, $(if $(GPU),8,3) GB)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.installed $@

data: setup
	@$(BIN)/python -m fmnist_model

search: data
	@$(BIN)/fmnist-search run $(SEARCH_PLAN) --out $(OUT)
	@$(BIN)/fmnist-results plot $(OUT) || true  # says itself what it needs a browser for
	@$(BIN)/fmnist-results report $(OUT)
	@$(BIN)/fmnist-results compare $(dir $(OUT))*

# A report of a real search, which is made where there is none.
RUN ?= runs/report
REPORT_PLAN ?= --space wide --trials 40 --retrain-epochs 20,50,100

$(RUN)/final/evaluation.json:
	@$(BIN)/fmnist-search run $(REPORT_PLAN) --out $(RUN)

report: data
	@$(MAKE) --no-print-directory $(RUN)/final/evaluation.json
	@$(BIN)/fmnist-results report $(RUN)

# The pictures of docs/, of that report.
screenshots: report browser
	@$(BIN)/python tests/results/screenshots.py $(RUN) docs

# The programs of the lab, sshd and rsync, and Slurm: fetched, not installed. Where they cannot be
# had, its tests are skipped, and say so.
lab: setup
	@$(BIN)/python tests/cluster/tools.py || true
	@$(BIN)/python tests/cluster/slurm_lab.py || true

# A browser that opens a report: fetched like the programs of the lab, and skipped without like them.
browser: setup
	@$(BIN)/python tests/results/browser.py || true

test: data lab browser
	@if $(ISOLATED) true 2>/dev/null; then \
		$(ISOLATED) $(PYTEST) $(TESTS); \
	else \
		echo "no network namespace can be made here: testing on the machine's own network"; \
		$(PYTEST) $(TESTS); \
	fi

test-long: TIER = long
test-long: test

# Several hosts on this machine: ray up, ray submit, a host that crashes, is cut off, joins late.
# Where no hosts can be made it says why, and a node is lost on several nodes of this machine.
cluster-test: TIER = "long or not long"
cluster-test: TESTS = tests/cluster/test_hosts.py tests/cluster/test_nodes_of_one_host.py \
	--capture=no --durations=0
cluster-test: PYTEST = $(BIN)/python -m pytest -m $(TIER)
cluster-test: test

# A hundred kills take some 40 minutes on two cores.
storm: setup
	@if $(ISOLATED) true 2>/dev/null; then \
		$(ISOLATED) $(BIN)/python tests/reliability/storm.py $(STORM); \
	else \
		$(BIN)/python tests/reliability/storm.py $(STORM); \
	fi

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck cluster/slurm.sh

# What an epoch costs, on one thread; writes bench.json, asserts nothing.
bench: setup
	@$(BIN)/python tests/benchmarks/epoch.py

# These four print tables of your machine (again with RACE=--show); RACE="--show --report docs" prints
# those of docs/. The race and the settings go on with what is missing.

# Five hours.
race: data
	@$(BIN)/python tests/benchmarks/race.py $(RACE)

# Recorded learning curves, replayed to the real driver on many slots; half an hour.
scale: setup
	@$(BIN)/python tests/benchmarks/scale.py $(SCALE)

# Searches with one setting changed, in turn; two and a half hours.
settings: data
	@$(BIN)/python tests/benchmarks/settings.py $(SETTINGS)

# A search, its audit, and its best on new seeds; an hour and a half.
accuracy: data
	@$(BIN)/python tests/benchmarks/accuracy.py $(ACCURACY)

# Needs uv (https://docs.astral.sh/uv); the locks name no index, so that any will do.
COMPILE = uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"

lock:
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --extra dev --extra gpu --constraints requirements.lock --output-file requirements-gpu.lock

clean:
	rm -rf $(VENV) build *.egg-info
