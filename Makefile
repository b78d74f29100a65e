# make run, make test: everything from a fresh clone, with Python 3.10+ and pip alone.
PYTHON ?= python3
BIN := .venv/bin
REPORT ?= report.csv

# Programs keep their byte code, as they do for users: without it each run compiles them anew, 0.06 s of 0.6.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test pythons check bench bench-http bench-stream bench-messages soak integration environments programs clean requirements

# Without byte code, which Python writes when a module is first imported: 12 s of CPU for .venv instead of 20.
PIP_INSTALL := -m pip install --disable-pip-version-check --no-compile

help:  ## these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: .venv/ready  ## the report of the sample
	@mkdir -p $(dir $(REPORT))
	$(BIN)/python -m pipeline --input examples/events.json --output $(REPORT)
	@cat $(REPORT)

test: .venv/test-ready  ## all tests that need nothing but pip
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/integration $(TESTS)

# What differs between versions of Python is tried: imports, types, decoding, dates, the command line, a compiled scanner.
PYTHONS_TESTS ?= tests/model tests/batch tests/cli/test_main.py tests/native/test_loader.py \
  tests/formats/test_decoding.py tests/formats/test_parquet.py tests/formats/test_readers.py

pythons:  ## a choice of the tests on each other Python of 3.10 to 3.13 that the machine has
	.ci/pythons | xargs -P 2 -I{} sh -c 'clone=$$(mktemp -d) && git clone --quiet . $$clone && \
	  $(MAKE) -C $$clone test PYTHON={} TESTS="$(PYTHONS_TESTS)" </dev/null && rm -rf $$clone'

check: .venv/test-ready  ## lint, format, spelling, types, imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready .venv-bench/ready  ## against DuckDB, Polars, pandas and stock Beam, in one run
	.venv-bench/bin/python -m bench.run --python $(BIN)/python --markdown docs/benchmarks.md $(BENCH)

bench-http: .venv/ready .venv-http/ready  ## the server against FastAPI with pandas, in one run
	$(BIN)/python -m bench.http --rival_python .venv-http/bin/python --markdown docs/benchmarks-http.md $(BENCH)

bench-stream: .venv/ready build/tools/ready  ## a watched folder at rising rates: what is sustained, delays, memory; needs Go
	$(BIN)/python -m bench.stream --prism build/tools/prism --markdown docs/benchmarks-stream.md $(BENCH)

bench-messages: .venv-cloud/ready  ## what a Pub/Sub message of one event costs, here and in Beam's own hand-over: 2 minutes
	.venv-cloud/bin/python -m bench.messages $(BENCH)

soak: .venv/ready build/tools/ready  ## a stream with default options, 15 minutes at 50,000 events/s, its inputs deleted after use; needs Go
	$(BIN)/python -m bench.soak --prism build/tools/prism --markdown docs/soak.md $(SOAK)

integration: .venv/ready .venv-integration/ready .venv-cloud/ready build/tools/ready programs  ## a fuzzer, the page in a real browser, servers of clouds
	.ci/schemathesis $(BIN)/python .venv-integration/bin/schemathesis
	.venv-cloud/bin/python -m pytest -n auto --dist worksteal tests/integration

programs:  ## the browser and the proxy of the integration tests, by apt where they are missing
	command -v chromium && command -v nginx || (apt-get update -qq && apt-get install -y -qq chromium nginx-light)

environments: .venv-integration/ready .venv-cloud/ready .venv-bench/ready .venv-http/ready build/tools/ready programs  ## all that CI needs beside .venv

.venv/ready: requirements.txt
	$(PYTHON) -m venv --clear .venv
	@echo "installing what a run needs, some 700 MB"
	$(BIN)/python $(PIP_INSTALL) -r requirements.txt
	$(BIN)/python -m pipeline --compile
	touch $@

# All of requirements.txt, and the tools of tests and checks.
.venv/test-ready: .venv/ready requirements-test.txt
	$(BIN)/python $(PIP_INSTALL) --quiet -r requirements-test.txt
	touch $@

# The rivals live apart: with pandas installed, Beam takes 0.3 s longer to import.
.venv-bench/ready: requirements.txt bench/requirements.txt
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python $(PIP_INSTALL) --quiet -r requirements.txt -r bench/requirements.txt
	touch $@

.venv-http/ready: bench/http-requirements.txt
	$(PYTHON) -m venv --clear .venv-http
	.venv-http/bin/python $(PIP_INSTALL) --quiet -r bench/http-requirements.txt
	touch $@

.venv-integration/ready: integration-requirements.txt
	$(PYTHON) -m venv --clear .venv-integration
	.venv-integration/bin/python $(PIP_INSTALL) --quiet -r integration-requirements.txt
	touch $@

.venv-cloud/ready: tests/integration/requirements.txt browser-requirements.txt
	$(PYTHON) -m venv --clear .venv-cloud
	.venv-cloud/bin/python $(PIP_INSTALL) --quiet -r tests/integration/requirements.txt -r browser-requirements.txt
	touch $@

# Prism (Beam's portable engine), and servers of Pub/Sub and Cloud Storage; needs Go.
TOOLS := tests/integration/tools
build/tools/ready: $(wildcard $(TOOLS)/go.* $(TOOLS)/*/*.go)
	mkdir -p build/tools
	cd $(TOOLS) && go build -o $(CURDIR)/build/tools/ ./gcs ./pubsub github.com/apache/beam/sdks/v2/go/cmd/prism
	touch $@

UV_COMPILE := UV_PYTHON_DOWNLOADS=never UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --upgrade \
  --no-annotate --no-emit-index-url --generate-hashes
UV_PROJECT := $(UV_COMPILE) --python-version 3.10 pyproject.toml --extra server
UV_TOOLS := $(UV_COMPILE) --python-version 3.11  # of which not all run on 3.10

requirements: .venv/ready  ## pins anew, with hashes, from the ranges in pyproject.toml
	$(BIN)/python -m pip install --quiet uv==0.9.30
	$(UV_PROJECT) --output-file requirements.txt
	$(UV_PROJECT) --extra test --constraint requirements.txt --output-file requirements-test.txt
	$(UV_PROJECT) --extra test --extra gcp --extra aws --group integration --constraint requirements-test.txt \
	  --output-file tests/integration/requirements.txt
	$(UV_COMPILE) --python-version 3.10 --group browser --constraint tests/integration/requirements.txt --output-file browser-requirements.txt
	$(UV_COMPILE) --python-version 3.10 --group bench --constraint requirements.txt --output-file bench/requirements.txt
	$(UV_TOOLS) --group fuzzer --output-file integration-requirements.txt
	$(UV_TOOLS) --group http --output-file bench/http-requirements.txt

clean:  ## removes environments, builds and the report
	rm -rf .venv .venv-bench .venv-http .venv-integration .venv-cloud build dist *.egg-info report.csv
