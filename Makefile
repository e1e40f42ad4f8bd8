# Two commands set up all they need on a fresh Debian machine: `make demo` and `make test`.
#
#   make demo         installs the package, moves real files between disk, web and S3, runs a small workflow
#   make test         installs servers and tools where missing, checks the code, passes every test
#   make lint         only the checks of the code
#   make docs         the documentation as a site, in build/site
#   make share        man pages and completions for bash and zsh, in build/share
#   make simulate     the engine above simulated servers: tens of thousands of seeds, then rules switched off
#   make mutants      a sample of small mistakes in the code, each of which must make a test fail (an hour)
#   make test-3.10    every test on another Python than 3.11 or later, which the checks need; test-3.14 likewise
#   make bench        our command beside cp, rclone, s5cmd, curl and pegasus-wms (20 minutes, quiet machine)
#   make bench-quick  the same with small files (two minutes); writes nothing into benchmarks/
#   make clean        removes what these made
#
# PYTHON=python3.12 chooses an interpreter, VENV=dir the place of the virtual environment, WORKERS=1 how many
# processes run the tests.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
UPSTREAM_VENV ?= .venv-upstream
RUCIO_VENV ?= .venv-rucio
PYTEST_ARGS ?=
# Processes that run the tests, each file in one of them: most of the time goes into waiting for servers.
WORKERS ?= 3

BIN := $(VENV)/bin
CODE := src tests benchmarks examples .ci
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# In CI a server that is missing fails its tests instead of skipping them.
ifeq ($(CI),true)
export PEGASUS_TOOLKIT_REQUIRE_SERVERS := 1
endif

# What the tests talk to: command=Debian package. SeaweedFS comes with the Python packages.
SERVERS := openssl=openssl groff=groff-base nginx=nginx-light apache2=apache2-bin \
  /usr/lib/postgresql/*/bin/postgres=postgresql setpriv=util-linux dot=graphviz docker-registry=docker-registry skopeo=skopeo podman=podman runc=runc busybox=busybox-static vsftpd=vsftpd ssh=openssh-client sshd=openssh-server \
  xrootd=xrootd-server /usr/lib*/*/libXrdAccSciTokens-5.so=xrootd-scitokens-plugins xrdcp=xrootd-client globus-gridftp-server=globus-gridftp-server-progs \
  globus-url-copy=globus-gass-copy-progs gfal-copy=gfal2-util-scripts gfal-copy=python3-gfal2 \
  sbatch=slurm-wlm munged=munge gfal-copy=gfal2-plugin-srm gfal-copy=gfal2-plugin-gridftp gfal-copy=gfal2-plugin-file

SEEDS ?= 20000
SEED ?= 7
COUNT ?= 200
ONLY ?=

# Runs all tests in the virtual environment whose bin is given.
suite = PATH="$(abspath $(1)):$$PATH" PEGASUS_TOOLKIT_RUCIO="$(abspath $(RUCIO_VENV))" \
  $(1)/python -m pytest -n $(WORKERS) --dist loadfile --durations=10 $(PYTEST_ARGS)

.PHONY: demo test lint pytest docs share simulate mutants servers bench bench-quick bench-tools clean

demo: $(VENV)/.for-demo
	$(BIN)/python -m examples.demo

test: servers $(VENV)/.for-test
	$(MAKE) --no-print-directory -j2 lint $(RUCIO_VENV)/.ready
	$(MAKE) --no-print-directory pytest

lint: $(VENV)/.for-test
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/limits.py $(CODE)

pytest: $(VENV)/.for-test $(RUCIO_VENV)/.ready
	$(call suite,$(BIN))

# The Rucio server that tests talk to: apart, as its package has the name of the client's.
$(RUCIO_VENV)/.ready: tests/servers/rucio-requirements.txt .ci/venv
	PYTHON="$(PYTHON)" .ci/venv "$(RUCIO_VENV)" -r tests/servers/rucio-requirements.txt
	touch $@

# Another interpreter than the one by that name: make test-3.10 PYTHON=/opt/python3.10/bin/python3
test-3.%: servers .venv-3.%/.for-test $(RUCIO_VENV)/.ready
	$(call suite,.venv-3.$*/bin)

.PRECIOUS: .venv-3.%/.for-test
.venv-3.%/.for-test: pyproject.toml .ci/venv
	PYTHON="$(if $(filter file,$(origin PYTHON)),python3.$*,$(PYTHON))" .ci/venv ".venv-3.$*" -e '.[test]'
	touch $@

docs: $(VENV)/.for-test
	$(BIN)/mkdocs build --strict --quiet

share: $(VENV)/.for-test
	$(BIN)/python .ci/share.py build/share

# Replay a seed that fails: python -m tests.simulation SEED
simulate: $(VENV)/.for-test
	$(BIN)/python -m tests.simulation 0 $(SEEDS)
	$(BIN)/python -m tests.simulation.mutants

# Other samples: make mutants SEED=2 COUNT=400 ONLY=scheduler.py
mutants: $(VENV)/.for-test
	$(BIN)/pip install --quiet coverage
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python .ci/mutants.py --seed $(SEED) --count $(COUNT) --only "$(ONLY)"

servers:
	.ci/need $(SERVERS)

$(VENV)/.for-demo: pyproject.toml .ci/venv
	PYTHON="$(PYTHON)" .ci/venv "$(VENV)" -e '.[demo]'
	touch $@

$(VENV)/.for-test: pyproject.toml .ci/venv
	PYTHON="$(PYTHON)" .ci/venv "$(VENV)" -e '.[test,lint,docs]'
	touch $@

bench: bench-tools
	$(BENCH_VENV)/bin/python -m benchmarks.run --ours "$(BIN)" --upstream "$(UPSTREAM_VENV)/bin" --publish

bench-quick: bench-tools
	$(BENCH_VENV)/bin/python -m benchmarks.run --ours "$(BIN)" --upstream "$(UPSTREAM_VENV)/bin" --quick

bench-tools: servers $(VENV)/.for-test $(BENCH_VENV)/.ready $(UPSTREAM_VENV)/.ready
	.ci/need curl=curl
	$(BIN)/python -m compileall -q src  # as pip does when it installs a package

# The tools that we compare with, each from the package registry; upstream's apart, for its old dependencies.
$(BENCH_VENV)/.ready: benchmarks/requirements.txt .ci/venv
	PYTHON="$(PYTHON)" .ci/venv "$(BENCH_VENV)" -r benchmarks/requirements.txt
	touch $@

$(UPSTREAM_VENV)/.ready: benchmarks/requirements-upstream.txt benchmarks/upstream_commands.py .ci/venv
	PYTHON="$(PYTHON)" .ci/venv "$(UPSTREAM_VENV)" -r benchmarks/requirements-upstream.txt
	$(UPSTREAM_VENV)/bin/python benchmarks/upstream_commands.py
	touch $@

clean:
	rm -rf "$(VENV)" "$(BENCH_VENV)" "$(UPSTREAM_VENV)" "$(RUCIO_VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
