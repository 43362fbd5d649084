# `make` alone lists the targets. Everything is installed into .venv, nothing outside it.
PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
OLDEST_VENV ?= .venv-oldest
OLDEST := numpy==1.26.* pandas==2.2.0 polars==1.0.0 pyarrow==15.0.0 scipy==1.12.*
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PYTEST_ARGS ?= -n logical
SERVERS_ARGS ?= -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-servers engines hash-probe reliability reliability-short mutations lint types docs schemas bench bench-hash bench-peers clean test-browser pictures test-notebooks

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed-sklearn,pandas  ## train, version, pick, load and predict on real data
	$(BIN)/python docs/examples/quickstart.py

hash-probe: $(VENV)/.installed-test $(OLDEST_VENV)/.installed-oldest  ## the data hash, with the newest and the oldest libraries
	PYTHONHASHSEED=0 $(BIN)/python tests/hash_probe.py
	PYTHONHASHSEED=1 $(OLDEST_VENV)/bin/python tests/hash_probe.py --without torch datasets

test: $(VENV)/.installed-test  ## the whole test suite, with coverage
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term

test-servers: $(VENV)/.installed-servers  ## S3, GCS, Azure and SFTP on real servers, which tests/servers/install.sh installs
	$(BIN)/python -m pytest tests/servers $(SERVERS_ARGS) --cov --cov-config=tests/servers/coverage.toml --cov-report=term

engines: $(VENV)/.installed-test $(VENV)/.installed-engines  ## Dask, Ray, Spark, joblib and others, with real workers
	$(BIN)/python -m pytest tests/engines

reliability: $(VENV)/.installed-servers  ## power cuts and failing system calls, all of them, and mutations; root, strace, OpenSSH, half an hour
	mkdir -p build/reliability
	$(BIN)/python -W error tests/reliability/power_cuts.py build/power-cuts 1 | tee build/reliability/power-cuts
	$(BIN)/python -W error tests/reliability/syscalls.py build/syscalls 1 | tee build/reliability/syscalls
	MODELVERSION_TEST_FAULTS=build/reliability/buckets $(BIN)/python -m pytest -q tests/test_bucket_faults.py
	MODELVERSION_TEST_MOTO_SAVES=10 $(BIN)/python -m pytest -q tests/servers/test_races.py -k "ten_saves and moto"
	$(BIN)/python tests/reliability/mutations.py build/mutations | tee build/reliability/mutations
	$(BIN)/python tests/reliability/report.py build/reliability

mutations: $(VENV)/.installed-servers  ## each guard of the storage away in turn, and the test that notices; OpenSSH
	$(BIN)/python tests/reliability/mutations.py build/mutations

reliability-short: $(VENV)/.installed-test  ## a part of them, with what they find when a guard is taken away
	$(BIN)/python -m pytest tests/reliability

lint: types  ## ruff, then the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-lint  ## mypy --strict on the package, mypy and pyright on the public signatures
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.installed-docs  ## the documentation, into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W -n --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

schemas: $(VENV)/.installed-test  ## the JSON Schemas of the format, into docs/reference/schemas
	$(BIN)/python docs/schemas.py

test-browser: $(VENV)/.installed-browser tests/browser/node_modules  ## displays in JupyterLab, by Chromium and axe
	$(BIN)/python -m pytest -q tests/browser

pictures: test-browser  ## the pictures of the documentation, as the browser tests take them
	$(BIN)/python tests/browser/publish.py

tests/browser/node_modules: tests/browser/package.json
	cd tests/browser && npm install --silent --no-package-lock
	@touch $@

test-notebooks: $(VENV)/.installed-test  ## run the notebooks
	$(BIN)/python -m pytest -q tests/test_notebooks.py

bench: $(VENV)/.installed-bench  ## speed, against pickle and joblib
	$(BIN)/python tests/bench/run.py

bench-hash: $(PEERS_VENV)/.installed-bench-peers  ## speed of the data hash, against sha256 and other hashes
	$(PEERS_VENV)/bin/python tests/bench/hashing.py

bench-peers: $(PEERS_VENV)/.installed-bench-peers  ## speed, against mlflow, pins and bentoml too
	$(PEERS_VENV)/bin/python tests/bench/peers.py

clean:  ## what builds and tests leave behind; environments and model-registry/ stay
	rm -rf build dist docs/_build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find modelversion tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras: installed again only when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) -e '.[$*]'
	@touch $@

$(PEERS_VENV)/.installed-%: pyproject.toml | $(PEERS_VENV)/bin/python
	$(PEERS_VENV)/bin/python $(PIP_INSTALL) -e '.[$*]'
	@touch $@

# The oldest releases that the extras allow; they have wheels for Python 3.11 and 3.12.
$(OLDEST_VENV)/.installed-oldest: pyproject.toml Makefile | $(OLDEST_VENV)/bin/python
	$(OLDEST_VENV)/bin/python $(PIP_INSTALL) -e . $(foreach release,$(OLDEST),'$(release)')
	@touch $@

$(VENV)/bin/python $(PEERS_VENV)/bin/python $(OLDEST_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)
