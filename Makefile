.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Tests start hundreds of processes, each of which would compile every module again.
unexport PYTHONDONTWRITEBYTECODE
MESSAGES := contract/tfs_api/messages
IMAGES ?= gateway embedded
# Variables, because `call` would split them at their commas.
TRAIN = .[train]
DEV = .[train,dev,docs,mlflow,otel]
# pip with one line of progress on a terminal, and only its errors elsewhere. Modules are compiled when they are first imported:
# most of the 14,500 never are.
install = bash -o pipefail -c "$(BIN)/pip install --disable-pip-version-check --no-compile --progress-bar off --constraint constraints.txt --editable '$(1)' | awk -v tty=$$([ -t 1 ] && echo 1) -f .ci/pip-progress.awk"
PYTEST = $(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder
PIN = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate
HASH = $(PIN) --generate-hashes --constraint constraints.txt pyproject.toml
REVISION = $(shell git rev-parse --short HEAD)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/train.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "TensorFlow needs Python 3.11 to 3.13, %s is %d.%d: make PYTHON=python3.12 …" % (sys.executable, *v))'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing RockstarTF with TensorFlow into .venv (one to three minutes)"
	@# The pip of an older Python needs twice the time, and works.
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip || true
	@$(call install,$(TRAIN))
	@touch $@

.venv/dev.stamp: .venv/train.stamp
	@echo "Installing the development tools into .venv"
	@$(call install,$(DEV))
	@touch $@

demo: .venv/train.stamp  ## train three models on real digits and serve them (ONCE=1: compare, then stop)
	@$(BIN)/python examples/demo.py --workdir demo $(if $(ONCE),--once) $(ARGS)

litert-web: .venv/train.stamp  ## fetch LiteRT for browsers (needs npm), for `rockstar export` and the page
	@$(BIN)/python .ci/litert_web.py

test: .venv/dev.stamp  ## run the tests, but for the slow ones
	@# In order of the folders: whole services first, which take longest, so that no process waits at the end. One
	@# process more than a machine with two cores has, because tests of services wait for a third of their time.
	@$(PYTEST) -m 'not slow' $(ARGS)

test-slow: .venv/dev.stamp  ## run the slow tests: distributed training, kills, restarts, all manifests
	@$(PYTEST) -m slow $(ARGS)

versions: .venv/dev.stamp  ## serve with the lowest and newest allowed packages (TF=2.21: its tests)
	@$(BIN)/python -m tests.versions $(if $(TF),--tensorflow $(TF)) $(ARGS)

cluster-test: .venv/dev.stamp  ## from nothing to a canary under load on a kind cluster (needs Docker)
	@$(BIN)/python -m tests.cluster

tfserving-diff: .venv/dev.stamp  ## compare with TensorFlow Serving in a container (needs Docker; TFS=its source tree)
	@$(BIN)/python -m tests.tfserving_diff $(if $(TFS),--tfs '$(TFS)') $(ARGS)

fuzz: .venv/dev.stamp  ## fuzz every decoder for a minute each, with atheris (Linux; SECONDS=10; ARGS='image csv')
	@$(call install,.[fuzz])
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

notebooks: .venv/dev.stamp  ## run the lecture's notebooks and their solutions (ARGS=--write: save outputs)
	@$(BIN)/python -m tests.notebooks $(ARGS)

chaos: .venv/dev.stamp  ## kill, stop, starve and reload a service under load, and check every answer (Linux; SECONDS=60)
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),600) $(ARGS)

engines-test: .venv/dev.stamp  ## predict with Ray, Spark and Beam, and compare with a service; tune (Java 17; ARGS='ray -n 500')
	@$(BIN)/python -m tests.engines $(ARGS)

images:  ## build the images with Docker; see docs/containers.md
	docker buildx bake --file compose.yaml --set '*.args.REVISION=$(REVISION)' $(if $(PLATFORMS),--set '*.platform=$(PLATFORMS)',--load) $(ARGS) $(IMAGES)

images-test: .venv/dev.stamp  ## build images without Docker and run them (Linux, as root)
	@$(BIN)/python -m pytest -m images --images=all $(ARGS)

bench: .venv/train.stamp  ## measure serving beside other systems, an hour (ARGS='--quick': less)
	@$(BIN)/python -m benchmarks.serving $(ARGS)

docs: .venv/dev.stamp  ## build the documentation into build/docs/html; warnings are errors
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env --jobs auto -b dirhtml docs build/docs/html
	@echo "build/docs/html/index.html"

docs-links: .venv/dev.stamp  ## check the links of the documentation to other sites
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b linkcheck docs build/docs/links

check: .venv/dev.stamp  ## format, lint, types, workflows, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github
	@rm -rf build/generated && mkdir -p build/generated
	@$(BIN)/python -m grpc_tools.protoc -I contract --python_out=build/generated --pyi_out=build/generated $(MESSAGES)/*.proto
	@for f in build/generated/tfs_api/messages/*; do cmp $$f $(MESSAGES)/$$(basename $$f) || { echo "Generated code is stale: make generate"; exit 1; }; done

format: .venv/dev.stamp  ## format the code and fix lint errors
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: .venv/dev.stamp  ## regenerate the message classes from their .proto files
	$(BIN)/python -m grpc_tools.protoc -I contract --python_out=contract --pyi_out=contract $(MESSAGES)/*.proto

lock: .venv/dev.stamp  ## pin every dependency again, with hashes for the images
	$(PIN) --all-extras pyproject.toml --output-file constraints.txt
	echo hatchling | $(HASH) - --output-file requirements/gateway.txt
	echo hatchling | $(HASH) - --extra serve --extra storage --output-file requirements/model-server.txt
	echo hatchling | $(HASH) - --extra train --extra mlflow --output-file requirements/trainer.txt

clean:  ## remove everything that make created
	rm -rf .venv build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help demo litert-web test test-slow versions notebooks fuzz chaos bench cluster-test tfserving-diff images images-test docs docs-links check format generate lock clean
