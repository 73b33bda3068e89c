# `make` alone shows what there is. Every target does its own set-up.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Bytecode is written at the first import: to compile all packages in advance takes two minutes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup format check test tests encoders timm demo docs tables messages sizes clean
.PHONY: bench training-step paper-step gpu install-size model-speed scale large scaling bulk bulk-growth ray
.PHONY: attention audit explanations learning-curve members missing peers reliability tasks whitespace outputs pictures

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Install the package and its tools into .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
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
# All tests are collected once before, so that the workers do not write the same bytecode each.
tests: setup
	$(BIN)/pytest --collect-only --quiet > /dev/null
	$(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder

encoders: setup  ## Test all families of encoders, their ONNX graphs too
	$(BIN)/pytest --numprocesses $$(nproc) -m "families or not families" tests/contracts/test_encoders.py

timm:  ## Test encoders of timm, which is installed with torchvision into .venv-timm
	test -d .venv-timm || $(PYTHON) -m venv .venv-timm
	.venv-timm/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,timm]'
	.venv-timm/bin/pytest --numprocesses $$(nproc) -m timm

demo: setup  ## Train on generated posts; leaves runs/demo/report.html
	$(BIN)/mvcn demo --output runs/demo --overwrite

# Speed: compared with plain code, and how it grows with data, models and devices.
bench: setup  ## Compare speed with plain code; writes results/bench.json
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	.venv-bench/bin/python -m scripts.speed

model-speed: setup  ## Size and speed of each model; writes results/model-speed.json
	$(BIN)/python -m scripts.speed.models

training-step: setup  ## Where the time of a training step goes; writes results/training-step.json
	$(BIN)/python -m scripts.speed.training_step

paper-step: setup  ## A training step with the paper's encoders; writes results/paper-step.json
	$(BIN)/python -m scripts.speed.paper_step

gpu: setup  ## What a CUDA device makes of it, in five minutes; writes results/gpu.json
	$(BIN)/python -m scripts.speed.gpu

install-size: setup  ## Size and start of each installation, with RUN=run; writes results/install.json
	$(BIN)/python -m scripts.speed.install $(RUN)

scale: setup  ## Prepare and audit 100,000 generated posts; writes results/scale.json
	$(BIN)/python -m scripts.speed.scale

large: setup  ## Train on 10,000 and 100,000 generated posts; writes results/large.json
	$(BIN)/python -m scripts.speed.large

scaling: setup  ## How a training step grows; writes results/scaling.json
	$(BIN)/python -m scripts.speed.scaling

bulk: ray  ## Measure and interrupt bulk jobs of WITH=run; writes results/bulk*.json
	$(BIN)/python -m scripts.speed.bulk $(WITH)
	$(BIN)/python -m scripts.studies.bulk_faults $(WITH)

bulk-growth: setup  ## How bulk jobs of WITH=run grow with posts; writes results/bulk-growth.json
	$(BIN)/python -m scripts.speed.bulk_growth $(WITH)

ray: setup  ## Install Ray and test the jobs that it runs
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/pytest tests/system/test_bulk_faults.py tests/system/test_same_scores.py

# Studies: experiments behind the tables.
attention: setup  ## Repeat the demo with three seeds; writes results/attention-generated-posts.json
	$(BIN)/python -m scripts.studies.attention

audit: setup  ## Audit MVSA-Single in DATA=folder; writes results/mvsa-single-faults.json
	$(BIN)/python -m scripts.studies.audit $(DATA)

explanations: setup  ## Explanations and clusters of five models with and without the constraint; DATA=folder
	$(BIN)/python -m scripts.studies.explanations $(DATA)

learning-curve: setup  ## Scores by the number of training posts of MVSA-Single in DATA=folder
	$(BIN)/mvcn experiment learning-curve --root $(DATA) --splits $(DATA)/splits
	$(BIN)/python -m scripts.studies.linear_script $(DATA)
	$(BIN)/mvcn compare results/learning-curve --baseline 'linear script' \
		--figure docs/figures/learning-curve.png --overwrite

members: setup  ## Out-of-fold scores and disagreement, held against unseen posts of DATA=folder
	$(BIN)/python -m scripts.studies.members $(DATA)

missing: setup  ## Train on MVSA-Single in DATA=folder without some images and texts
	$(BIN)/python -m scripts.studies.missing $(DATA)

# Takes hours; a killed run continues, and nothing else should run meanwhile.
peers: setup  ## What other tools make of MVSA-Single in DATA=folder; writes results/peers.json
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --constraint scripts/peers/constraints.txt \
		--requirement scripts/peers/requirements.txt
	$(BIN)/python -m scripts.peers $(DATA)

reliability: setup  ## Load and faults of a service of RUN=run; writes results/reliability.json
	$(BIN)/python -m scripts.studies.reliability $(RUN)

tasks: setup  ## Compare mvcn train with linear models on other tasks; writes results/tasks.json
	$(BIN)/python -m scripts.studies.tasks

whitespace: setup  ## What whitespace says of HFM in DATA=folder; writes results/hfm-whitespace.json
	$(BIN)/python -m scripts.studies.whitespace $(DATA)

outputs: setup  ## What the documented commands print, and the picture of a report, with MVSA-Single in DATA
	$(BIN)/python -m scripts.outputs $(DATA)
	$(BIN)/python -m scripts.tables

pictures: setup  ## Pictures of docs/explain.md and docs/method.md, of DEMO=folder of `make demo` and RUN=run
	$(BIN)/python -m scripts.pictures $(DEMO) $(RUN)
	$(BIN)/python -m scripts.method_figures

docs: setup  ## Build the documentation site into docs/_build
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

tables: setup  ## Write the tables and outputs of README.md and docs from results/
	$(BIN)/python -m scripts.tables

messages: setup  ## Print every message of the package, to be read
	$(BIN)/python -m scripts.messages

sizes: setup  ## Print how large each package is
	$(BIN)/python -m scripts.sizes

clean:  ## Remove the environment and the runs
	rm -rf $(VENV) .venv-bench .venv-peers .venv-timm runs
