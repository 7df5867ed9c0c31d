# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv/, given Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := pip install --constraint constraints.txt
HOME_TO_KEEP ?=
FOLDER ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all fuzz check format proto bench results soak clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Make .venv/ with everything in it

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "Python 3.11 is needed; name it with: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(INSTALL) --editable '.[demo,dev,evaluate,otel,ray]'
	touch $@

demo: install  ## A track nobody has played finds its place: the whole way on real music
	$(BIN)/anacrusis demo $(if $(HOME_TO_KEEP),--keep $(HOME_TO_KEEP))

test: install  ## The tests, under 10 minutes on two cores
	$(BIN)/python -m pytest

test-all: install  ## The slow ones too
	$(BIN)/python -m pytest -m ""

fuzz: install  ## What nobody should send: mutated audio, files and messages, about half an hour
	$(BIN)/python -m tests.fuzz --json benchmarks/results/fuzz.json

check: install  ## Lint, types, the layering of the rooms, the proto, deploy/; that generated code and the README's figures are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python -m grpc_service.generate --check
	$(BIN)/python -m benchmarks.readme_results --check
	$(BIN)/python -m benchmarks.spaces_page --check
	$(BIN)/python -m benchmarks.serving_page --check
	$(BIN)/python -m benchmarks.scale --check
	$(BIN)/python -m benchmarks.trust_page --check
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/kubernetes-validate --strict deploy/kubernetes/*.yaml deploy/kubernetes/gpu/*.yaml

format: install  ## Let ruff put the source in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: install  ## Generate grpc_service/pb from proto/
	$(BIN)/python -m grpc_service.generate

bench: install  ## Measure the encoder on the bundled music, and its agreement with the original network
	$(BIN)/anacrusis bench encode
	$(BIN)/python -m encoders.parity tests/golden/musicnn_battle_15s.npz

results: install  ## Evaluate the transfer on a benchmark folder, and write the page and the figures: make results FOLDER=...
	@test -n "$(FOLDER)" || { echo "Name a benchmark folder with: make results FOLDER=/path/to/folder"; exit 2; }
	$(BIN)/anacrusis evaluate $(FOLDER) --ablation --report docs/results --json benchmarks/results/transfer.json
	$(BIN)/python -m benchmarks.readme_results

soak: install  ## Kill server and jobs 300 times at random moments, load a server for an hour: two hours or more
	$(BIN)/python -m benchmarks.soak --json benchmarks/results/soak.json
	$(BIN)/python -m benchmarks.trust_page

clean:  ## Remove .venv/ and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
