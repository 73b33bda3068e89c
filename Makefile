# `make` alone shows what there is. Every target does its own set-up.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup format check test tests demo attention bench missing blanks faults reliability model-speed explanations pictures scale scaling ray bulk docs tables sizes clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Install the package and its tools into .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup  ## Format check, lint, layers and types (the quick part of `make test`)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Both at a time, since the one leaves a core to the other.
test: setup  ## Everything that CI runs
	$(MAKE) --jobs 2 check tests

# One worker more than cores: tests of services wait a lot. Files in their order, the longest first.
tests: setup
	$(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder

demo: setup  ## Train on generated posts; leaves runs/demo/report.html
	$(BIN)/mvcn demo --output runs/demo --overwrite

attention: setup  ## Repeat the demo with three seeds; writes results/attention-generated-posts.json
	$(BIN)/python scripts/attention.py

bench: setup  ## Measure speed against plain references; writes results/bench.json
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	.venv-bench/bin/python -m benchmarks

missing: setup  ## Take parts of MVSA-Single in DATA=folder away and train; writes results/
	$(BIN)/python scripts/missing.py --root $(DATA) --splits $(DATA)/splits

blanks: setup  ## Measure what blanks tell of HFM in DATA=folder; writes results/hfm-blanks.json
	$(BIN)/python scripts/blanks.py --root $(DATA)

faults: setup  ## Audit MVSA-Single in DATA=folder; writes results/mvsa-single-faults.json
	$(BIN)/python scripts/faults.py --root $(DATA) --splits $(DATA)/splits

reliability: setup  ## Load and faults of a service of RUN=run; writes results/reliability.json
	$(BIN)/python -m scripts.reliability --run $(RUN)

model-speed: setup  ## Size and speed of each model; writes results/model-speed.json
	$(BIN)/python scripts/model_speed.py

explanations: setup  ## Explanations of WITH=run and WITHOUT=run, with and without the constraint
	$(BIN)/python scripts/explanations.py $(WITH) $(WITHOUT)

pictures: setup  ## Pictures of the README of DEMO=folder of `make demo` and RUN=run
	$(BIN)/python scripts/pictures.py $(DEMO) $(RUN)

scale: setup  ## Prepare and audit 100,000 generated posts; writes results/scale.json
	$(BIN)/python scripts/scale.py

ray: setup  ## Install Ray and test the jobs that it runs
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/pytest tests/system/test_bulk_faults.py tests/system/test_same_scores.py

bulk: ray  ## Measure and break jobs over many posts of WITH=run; writes results/bulk*.json
	$(BIN)/mvcn export $(WITH) --quantize int8 --overwrite
	$(BIN)/python -m scripts.bulk $(WITH)
	$(BIN)/python -m scripts.bulk_faults $(WITH)

scaling: setup  ## How a training step grows; writes results/scaling.json
	$(BIN)/python scripts/scaling.py

docs: setup  ## Build the documentation site into docs/_build
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

tables: setup  ## Write the tables of README.md from results/
	$(BIN)/python scripts/tables.py

sizes: setup  ## Print how large each package is
	$(BIN)/python scripts/sizes.py

clean:  ## Remove the environment and the runs
	rm -rf $(VENV) .venv-bench runs
