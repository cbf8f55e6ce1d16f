# The two commands of the README: `make run` and `make test`. Both install what is missing, then build.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=

.PHONY: run test fast arm e2e bench bench-operator bench-peer images build deps model asan tsan format lint clean help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: build model  ## start the mesh of deploy/examples/local.yaml; Ctrl-C stops it
	@exec $(BUILD)/bin/mesh up -f deploy/examples/local.yaml

test: build model  ## every test; ends in a count
	@tools/run_tests.py --build $(BUILD)

fast: build  ## the everyday loop: unit tests alone
	@tools/run_tests.py --build $(BUILD) --fast

# Root: network namespaces and containerd. E2E passes arguments to pytest: make e2e E2E='-k rollout'
e2e: build  ## the scenarios on a real Kubernetes of two nodes (needs root)
	@python3 e2e/run.py --build $(BUILD) -- $(E2E)

images: build  ## container images and their bills of materials into build/images
	@deploy/images/build.py --build $(BUILD)

bench: build model  ## measure; prints a table and writes JSON (tests/bench)
	@tools/install_deps.sh wrk nginx-light
	@tools/run_tests.py --build $(BUILD) --prepare
	@$(BUILD)/venv/bin/python tests/bench/run.py --build $(BUILD)

bench-operator: build  ## the operator under load, against a real API server without kubelets
	@e2e/cluster/build.sh api > /dev/null
	@python3 tests/bench/operator_load.py --build $(BUILD)

# PEER passes arguments on: make bench-peer PEER=--quick, or PEER='--only decode-1 --format q8_0'
bench-peer: build model  ## beside llama.cpp, built here from PyPI's sources: ratios, JSON and a plot
	@python3 tests/bench/peer_build.py $(BUILD)/peer --jobs $(JOBS)
	@$(BUILD)/peer/venv/bin/python tests/bench/peer.py --build $(BUILD) --peer $(BUILD)/peer $(PEER)

build: deps  ## build everything into build/
	@cmake -S . -B $(BUILD) -G Ninja $(CMAKE_FLAGS) > $(BUILD).cmake.log 2>&1 || { cat $(BUILD).cmake.log; exit 1; }
	@ninja -C $(BUILD) -j $(JOBS)

deps:  ## install what is missing (Debian 12 packages)
	@tools/install_deps.sh

model:  ## fetch the example's model, checked by digest
	@tools/fetch_model.sh

# The folders that a sanitizer build takes; all of them takes a while.
SANITIZE_FOLDERS ?= common;proto;text;worker/collective;worker/checkpoint;worker/quantize;worker/model;worker/offline;worker/engine;worker/server;head;router;operator;cli;tests

asan tsan:  ## the unit tests under AddressSanitizer + UBSan, or ThreadSanitizer
	@$(MAKE) --no-print-directory build BUILD=build-$@ \
	  CMAKE_FLAGS='-DMESH_SANITIZE=$(if $(filter asan,$@),address,thread) "-DMESH_FOLDERS=$(SANITIZE_FOLDERS)"'
	@tools/run_tests.py --build build-$@ --unit

arm:  ## the kernels' tests on an emulated Arm machine
	@tools/test_arm.sh $(BUILD)

format:  ## clang-format and cargo fmt, in place
	@git ls-files '*.cc' '*.h' | xargs clang-format -i
	@cd text/rust && cargo fmt

lint: build  ## clang-tidy and clippy, without warnings
	@tools/lint.sh $(BUILD)

clean:
	@rm -rf build build-asan build-tsan *.cmake.log
