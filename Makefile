# Everything stays inside this folder: the environment in .venv, caches in .cache, results in runs.
TORCH ?= 2.13.0
PYTHON ?= python3
BIN := .venv/bin
export HF_HOME := $(CURDIR)/.cache/huggingface
export XDG_CACHE_HOME := $(CURDIR)/.cache
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export SPARRING_HOME := $(CURDIR)/.cache/sparring
PIP := XDG_CACHE_HOME= $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo demo-pretrain test check docs package figures clean

# Train a real pre-trained MiniLM on the embedded reviews, without and with an adversary; attack and compare them.
demo: .venv/demo
	rm -rf runs/demo
	$(BIN)/sparring train --method standard $(DEMO) --output runs/demo/standard
	$(BIN)/sparring train --method fgm $(DEMO) --output runs/demo/fgm
	$(BIN)/sparring evaluate runs/demo/standard runs/demo/fgm --limit 200 --restarts 0 --no-sanity --radius $(DEMO_RADII)
	$(BIN)/sparring attack runs/demo/standard runs/demo/fgm --recipe deepwordbug --examples 200 --output runs/demo/attacks
DEMO := --limit 1500 --epochs 1 --learning-rate 2e-4
DEMO_RADII := 0.025x,0.05x

# From text to a classifier, with ALUM at every stage: from scratch (tokenizer too), continual, fine-tuning.
demo-pretrain: .venv/demo
	rm -rf runs/demo-pretrain
	$(BIN)/sparring pretrain $(DEMO_PRETRAIN) --size tiny --curriculum half --steps 300 --output runs/demo-pretrain/scratch
	$(BIN)/sparring pretrain $(DEMO_PRETRAIN) --model runs/demo-pretrain/scratch --steps 60 --output runs/demo-pretrain/on
	$(BIN)/sparring train --model runs/demo-pretrain/on --method alum --epochs 2 --learning-rate 5e-4 --output runs/demo-pretrain/tuned
DEMO_PRETRAIN := --method alum --length 64 --batch-size 16 --learning-rate 1e-3

test: .venv/dev
	@command -v chromium >/dev/null || echo "no chromium here: the tests of the report in a browser are skipped"
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

# What CI runs besides the tests.
check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The generated blocks and pages, then the site; a broken link is an error.
docs: .venv/docs
	for script in docs/build_*.py; do $(BIN)/python $$script || exit 1; done
	$(BIN)/mkdocs build --strict

# Build sdist and wheel, look into them, install them into an empty environment, and try them there.
package: .venv/dev
	$(BIN)/python .ci/package

# The figures of docs/dependencies.md; on a machine that does nothing else.
figures: .venv/dev
	$(BIN)/python benchmarks/package_size.py --torch $(TORCH)

.venv/torch:
	$(PYTHON) -m venv .venv
	$(PIP) torch==$(TORCH)
	touch $@

.venv/demo: .venv/torch pyproject.toml
	$(PIP) -e '.[demo]'
	touch $@

.venv/dev: .venv/torch pyproject.toml
	$(PIP) -e '.[demo,plot,dev]'
	touch $@ .venv/demo

.venv/docs: .venv/torch pyproject.toml
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv .cache runs site
