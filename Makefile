# Everything happens in .venv and in the temporary folder. `make demo` and `make test` need Python and make, nothing else.

PYTHON ?= python3
BIN := .venv/bin
# uv installs much faster than pip, but does not read pip's configuration: where it fails, pip tries with its own.
# $(call install,the environment's folder,what)
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python $(2) || { \
	echo "uv could not install; pip tries, with its own index and certificates" >&2; \
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2); }
COMPILE = build/lock/bin/uv pip compile --no-cache --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate -q

.PHONY: help demo test test-deep lint policy bench truth dense fuzz audit mutate lock clean

help:
	@echo "make demo    run the real job on real input, with an embedded PostgreSQL and a stand-in for Lago"
	@echo "make test    run the tests, but for the deep ones; ARGS='-k name' is passed on to pytest"
	@echo "make test-deep  run the deep tests: many seeds, all kills, every road to the same files; ARGS as above"
	@echo "make lint    check style, types, the direction of imports, and the SQL in its dialects"
	@echo "make policy  scan the Dockerfile and the manifests in k8s/ for what a cluster's policy would refuse"
	@echo "make bench   measure reconciling, reading and sending beside what else could; ROWS=1000000 for the reported size"
	@echo "make truth   play simulated worlds and tell what was found of each class of loss; SEEDS=1000, twice as fast with TMPDIR=/dev/shm"
	@echo "make dense   play dense simulated worlds over all eras, stores, meters and payers; SEEDS=50 ARGS='--only 1.53/postgres'"
	@echo "make fuzz    run the fuzzers longer, with new examples; EXAMPLES=1000 each"
	@echo "make audit   look the locked packages up in PyPI's list of known vulnerabilities"
	@echo "make mutate  change jobs/core/ in every way mutmut knows and see that a test fails; docs/mutation.md"
	@echo "make lock    re-create locks/ from pyproject.toml"
	@echo "make clean   remove what the others made"
	@echo "PYTHON=...   which Python to create .venv with (3.11 to 3.13)"

demo: .venv/demo.installed
	$(BIN)/python -m jobs demo

test: .venv/dev.installed
	$(BIN)/pytest -n 2 --dist worksteal -m "not deep" $(ARGS)

test-deep: .venv/dev.installed
	$(BIN)/pytest -n 2 --dist worksteal -m deep $(ARGS)

lint: .venv/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --processes 2 sql

# The policy checker pins other versions of what .venv has, so it has an environment of its own.
policy: build/policy.installed
	build/policy/bin/checkov --config-file .checkov.yaml

build/policy.installed: locks/policy.txt | .venv/created
	rm -rf build/policy
	$(PYTHON) -m venv build/policy
	$(call install,build/policy,--require-hashes -r locks/policy.txt)
	touch $@

bench: .venv/bench.installed
	$(BIN)/python -m benchmarks.reconciling run --rows $(or $(ROWS),100000) --shape usual --shape repeated --shape island --shape users
	$(BIN)/python -m benchmarks.listing run
	$(BIN)/python -m benchmarks.sending run
	$(BIN)/python -m benchmarks.applying run

truth: .venv/dev.installed
	$(BIN)/python -m tests.truth.month $(or $(SEEDS),1000) --commit "$$(git rev-parse --short HEAD)" --output benchmarks/truth.md

dense: .venv/dev.installed
	$(BIN)/python -m tests.truth.dense $(or $(SEEDS),50) --processes 2 $(ARGS)

fuzz: .venv/dev.installed
	FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/pytest -n 2 tests/fuzz $(ARGS)

audit: .venv/dev.installed
	.ci/audit

mutate: .venv/mutate.installed
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

# A stamp is written only when its step has ended well, so an interrupted installation is done again.
.venv/created: locks/install.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is not one: name one with 'make PYTHON=python3.11 ...'" >&2; \
		exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/install.txt
	touch $@

.venv/demo.installed: locks/demo.txt pyproject.toml | .venv/created
	$(call install,.venv,--require-hashes -r locks/demo.txt)
	$(call install,.venv,--no-deps --no-build-isolation -e .)
	touch $@

# The demo's packages are a part of these, in the same versions.
.venv/dev.installed: locks/dev.txt pyproject.toml | .venv/created
	$(call install,.venv,--require-hashes -r locks/dev.txt)
	$(call install,.venv,--no-deps --no-build-isolation -e .)
	touch .venv/demo.installed $@

# Only `make bench` needs these.
.venv/bench.installed: locks/bench.txt | .venv/demo.installed
	$(PYTHON) -m venv .venv/bench
	$(call install,.venv/bench,--require-hashes -r locks/bench.txt)
	touch $@

# Only `make mutate` needs these.
.venv/mutate.installed: locks/mutate.txt | .venv/dev.installed
	$(call install,.venv,--require-hashes -r locks/mutate.txt)
	touch $@

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) pyproject.toml --all-extras --group test --group lint --group deploy --group litellm --group build \
		-o locks/dev.txt
	$(COMPILE) pyproject.toml --extra demo --extra cluster --group build -c locks/dev.txt -o locks/demo.txt
	$(COMPILE) pyproject.toml --extra clickhouse --extra aws --extra socks --extra cluster -c locks/dev.txt -o locks/run.txt
	$(COMPILE) --group pyproject.toml:build -c locks/dev.txt -o locks/build.txt
	$(COMPILE) --group pyproject.toml:install -o locks/install.txt
	$(COMPILE) --group pyproject.toml:policy -o locks/policy.txt
	$(COMPILE) --group pyproject.toml:bench -o locks/bench.txt
	$(COMPILE) --group pyproject.toml:mutate -c locks/dev.txt -o locks/mutate.txt
	rm -rf build/lock

clean:
	rm -rf .venv build dist runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
