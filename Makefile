# make setup         install the packages into .venv
# make data          install, and fetch Fashion-MNIST
# make search        install, fetch the data, search, print the table of results
# make report        make the report (HTML) of a real search; RUN=runs/a: of that run
# make check         check style, types, the Slurm script and the sentences of the pages
# make test          install, fetch the data, run all tests but the long ones; TESTS=tests/a: some
# make test-long     run the long tests
# make coverage      run the tests, and list the lines that none of them runs; TESTS=tests/a: some
# make mutants       change single things in the modules that decide, and list those that no test notices
# make browser       fetch a browser for the tests of the report, if the machine has none
# make cluster-test  test searches on several hosts in a lab on this machine
# make storm         kill the processes of two searches a hundred times, and print what that cost
# make bench         time an epoch: fit, the fast epoch, the matrix products alone
# make start         time scripts of seconds beside keras-tuner: START="--rounds 1 --before CHECKOUT"
# make race          compare with keras-tuner, Ray Tune and Optuna, each with the same time budget
# make scale         measure how many workers one driver serves
# make settings      compare settings of a search
# make accuracy      compare the best of a long search with the published configuration, on new seeds
# make docs          write docs/commands.md from the commands and two tables of docs/keras-tuner.md; build the site
# make pages         run every command of the pages, and the examples
# make screenshots   make the pictures of docs/
# make dist          build a wheel and a source archive into dist/
# make lock          pin the packages anew
# make clean         remove .venv and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# GPU=1 also installs CUDA, for a machine with an NVIDIA GPU.
LOCK := requirements$(if $(GPU),-gpu).lock
INSTALLED := $(VENV)/.installed$(if $(GPU),-gpu)
NOW := $(shell date +%Y%m%d-%H%M%S)
OUT ?= runs/wide-$(NOW)
SEARCH_PLAN ?= --space wide --trials 24 --time-budget 300 --retrain-epochs 20

# If the system allows it, the tests run in namespaces of their own: a network with only loopback,
# and processes that all end with the tests. The lab of several hosts needs real root.
USERS := $(if $(filter 0,$(shell id -u)),,--user --map-root-user)
ISOLATE := unshare $(USERS) --net --mount --pid --fork --mount-proc --kill-child
ISOLATED = $(ISOLATE) sh -c 'ip link set lo up && exec "$$@"' sh

# Two tests at a time. tests/conftest.py groups them, and begins with what takes longest.
SIDE_BY_SIDE = --numprocesses 2 --dist loadgroup --no-loadscope-reorder -m $(TIER)
PYTEST = $(BIN)/python -m pytest $(SIDE_BY_SIDE)
TIER = "not long"

.PHONY: setup data search report screenshots lab browser test test-long coverage forget-coverage mutants \
	cluster-test storm check docs pages bench start race scale settings accuracy dist lock clean

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
	@$(BIN)/fmnist-results plot $(OUT) || true  # prints why, if it finds no browser
	@$(BIN)/fmnist-results report $(OUT)
	@$(BIN)/fmnist-results compare $(dir $(OUT))*

# The run of the report; searched if it does not exist.
RUN ?= runs/report
REPORT_PLAN ?= --space wide --trials 40 --retrain-epochs 20,50,100

$(RUN)/final/evaluation.json:
	@$(BIN)/fmnist-search run $(REPORT_PLAN) --out $(RUN)

report: data
	@$(MAKE) --no-print-directory $(RUN)/final/evaluation.json
	@$(BIN)/fmnist-results report $(RUN)

# The pictures of docs/, taken of that report.
screenshots: report browser
	@$(BIN)/python tests/results/screenshots.py $(RUN) docs
	@$(BIN)/python tests/search/view/picture.py $(RUN) docs/live-view.svg --seconds 40

# The programs of the lab of hosts (sshd, rsync, Slurm) are fetched, not installed. If that fails, its
# tests are skipped with a message.
lab: setup
	@$(BIN)/python tests/cluster/tools.py || true
	@$(BIN)/python tests/cluster/slurm_lab.py || true

# The browser for the tests of the report is fetched in the same way; without it they are skipped.
browser: setup
	@$(BIN)/python tests/results/browser.py || true

test: data lab browser
	@if $(ISOLATED) true 2>/dev/null; then \
		$(ISOLATED) $(PYTEST) $(TESTS); \
	else \
		echo "cannot create a network namespace: the tests use the machine's own network"; \
		$(PYTEST) $(TESTS); \
	fi

test-long: TIER = long
test-long: test

# Lines run only by a process that is killed are listed too: it loses its count.
COVERAGE_FILE = $(CURDIR)/build/coverage/data
coverage: PYTEST = env COVERAGE_FILE=$(COVERAGE_FILE) $(BIN)/coverage run -m pytest $(SIDE_BY_SIDE)
coverage: forget-coverage test
	@COVERAGE_FILE=$(COVERAGE_FILE) $(BIN)/coverage combine --quiet
	@COVERAGE_FILE=$(COVERAGE_FILE) $(BIN)/coverage report

forget-coverage:
	@rm -rf build/coverage && mkdir -p build/coverage

# Takes some five minutes on two cores. MUTANTS="--count 20 search/space/mirror.py": fewer, of one.
mutants: setup
	@$(BIN)/python tests/mutants.py $(MUTANTS)

# Several hosts on this machine: ray up, ray submit, a host that crashes, is cut off, joins late.
# If hosts cannot be made, it says why; a second test loses one of several Ray nodes on this machine.
cluster-test: TIER = "long or not long"
cluster-test: TESTS = tests/cluster/onprem \
	--capture=no --durations=0
cluster-test: PYTEST = $(BIN)/python -m pytest -m $(TIER)
cluster-test: test

pages: TIER = long
pages: TESTS = tests/test_pages.py tests/test_examples.py
pages: test

# Takes some 40 minutes on two cores.
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
	@$(BIN)/shellcheck cluster/*.sh
	@$(BIN)/python tests/prose.py

docs: setup
	@$(BIN)/python tests/commands_page.py
	@$(BIN)/python tests/differences.py
	@$(BIN)/python tests/data_kinds.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

# Times an epoch on one thread; writes bench.json, asserts nothing.
bench: setup
	@$(BIN)/python tests/benchmarks/epoch.py

# Times scripts of two short searches; takes some two minutes a round.
start: setup
	@$(BIN)/python tests/benchmarks/start.py $(START)

# All of these measure your machine and print tables. RACE=--show prints the tables again, and
# RACE="--show --report docs" those of docs/. An interrupted race or settings continues.

# Takes five hours.
race: data
	@$(BIN)/python tests/benchmarks/race.py $(RACE)

# Replays recorded learning curves to the real driver on many slots; takes half an hour.
scale: setup
	@$(BIN)/python tests/benchmarks/scale.py $(SCALE)

# Searches with one setting changed at a time; takes two and a half hours.
settings: data
	@$(BIN)/python tests/benchmarks/settings.py $(SETTINGS)

# A search, its audit, and its best on new seeds; takes an hour and a half.
accuracy: data
	@$(BIN)/python tests/benchmarks/accuracy.py $(ACCURACY)

# The wheel is built from the archive in a folder of its own: nothing of an earlier build gets into it.
DIST ?= dist
BUILD_SDIST = from setuptools.build_meta import build_sdist; build_sdist("$(DIST)")
dist: setup
	@rm -rf $(DIST) fmnist_search.egg-info
	@$(BIN)/python -c '$(BUILD_SDIST)' > /dev/null
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(DIST) $(DIST)/*.tar.gz
	@rm -rf fmnist_search.egg-info
	@ls $(DIST)/*

# Needs uv (https://docs.astral.sh/uv). The locks name no package index, so that any index works.
COMPILE = uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"

lock:
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --extra dev --extra gpu --constraints requirements.lock --output-file requirements-gpu.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
