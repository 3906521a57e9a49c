# smolchat-fast: `make` lists what there is.
#
# PYTHON=python3.12     another interpreter (3.10 or newer)
# JOBS=4                tests that run at the same time (a job takes up to 1.5 GB)
# TORCH_INDEX=ADDRESS   take torch from this package index first, for example PyTorch's own index of CPU
#                       builds: a tenth of the download on a machine without a GPU
# MINUTES=10 SEED=1     how long `make fuzz` runs each target, and from where; TARGET=clean runs one

PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2
TARGET ?= all
MINUTES ?= 10
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml Cargo.lock $(shell find rust/core rust/py -name '*.rs' -o -name Cargo.toml)
CORE := python/smolchat_fast/_core.abi3.so

# pip reads this in every step, also those that maturin starts.
export PIP_CONSTRAINT := $(CURDIR)/requirements.lock
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo build dev test lint test-rust test-python fuzz docs bench bench-peers bench-serve bench-train lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: build ## make a chat model from built-in data (2 to 5 minutes on two cores)
	$(BIN)/python -m smolchat_fast demo

build: $(VENV)/.built ## .venv and the Rust core; does nothing the second time

dev: $(VENV)/.dev ## what the tests need, on top of build

$(VENV)/.python: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install -q torch --index-url $(TORCH_INDEX))
	$(BIN)/pip install -q maturin
	touch $@

$(VENV)/.built: $(VENV)/.python $(RUST)
	$(BIN)/pip install -q --no-build-isolation -e '.[train,serve]'
	touch $@

$(VENV)/.dev: $(VENV)/.built
	$(BIN)/pip install -q --no-build-isolation -e '.[dev]'
	touch $@

test: lint test-rust test-python ## everything that CI checks; ends with the counts

lint: dev ## clippy, rustfmt, ruff, mypy, stubtest
	cargo fmt --check
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --release --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file pyproject.toml smolchat_fast._core

test-rust: ## tests of the core; need no Python
	cargo test --release --quiet

test-python: dev ## tests of the package, the command line and the docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

fuzz: ## made-up and damaged inputs for readers, clean and dedup: MINUTES=10 each, TARGET=all
	cargo run --release --quiet -p smolchat-fuzz -- $(TARGET) $(MINUTES) $(SEED)

docs: dev ## write docs/commands.md from the real --help
	$(BIN)/python docs/commands.py

bench: ## throughput of each stage; needs no Python
	cargo bench

bench-serve: dev ## tokens a second of `serve` beside transformers and CTranslate2 (ten minutes)
	$(BIN)/pip install -q --no-build-isolation -e ".[peers]"
	$(BIN)/python -m benches.peers.serve

bench-train: dev ## our trainer beside Seq2SeqTrainer, each tuned; a quarter of an hour
	$(BIN)/python -m benches.peers train

bench-peers: dev ## side by side with what a user would pick instead
	$(BIN)/pip install -q --no-build-isolation -e '.[peers]'
	$(BIN)/python -m benches.peers

lock: dev ## pin what pyproject.toml allows today
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --all-extras --no-header --no-annotate \
		pyproject.toml -o requirements.lock

clean: ## remove everything that was built or made
	rm -rf target $(VENV) $(CORE) runs
