# podwire. `make` alone says what there is. Everything here can be run again and again.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE := $(HOME)/.cache/podwire
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_CACHE_DIR := $(CACHE)/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Debian packages, and what for.
PACKAGES := python3         # the system's Python: nftables' binding is built for it
PACKAGES += python3-venv    # the virtual environment
PACKAGES += python3-nftables # libnftables' Python binding, which is not on PyPI
PACKAGES += nftables        # nft: for people, and for tests that play a foreign program
PACKAGES += iproute2        # ip: the same
PACKAGES += procps          # sysctl, for tests
PACKAGES += iputils-ping    # ping, for people and for tests
PACKAGES += curl            # what people run in pods
PACKAGES += ca-certificates # pip
PACKAGES += gcc             # the CNI client, a static C program
PACKAGES += libc6-dev       # its headers and libc.a
PACKAGES += iptables        # kube-proxy's other mode, side by side in a lab

.PHONY: help
help: ## this list
	@echo "podwire: make TARGET"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.PHONY: linux root
linux:
	@[ "$$(uname -s)" = Linux ] || { echo "podwire: needs Linux, this is $$(uname -s): use a virtual machine" >&2; exit 1; }
root: linux
	@[ "$$(id -u)" = 0 ] || { echo "podwire: needs root, for network namespaces and nftables: run it with sudo" >&2; exit 1; }

.PHONY: setup
setup: linux $(READY) ## install what is missing: Debian packages (as root), a virtual environment

$(READY): pyproject.toml Makefile
	@set -e; missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}\n' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "podwire: needs the Debian packages" $$missing": use Debian 12 or newer" >&2; exit 1; }; \
		[ "$$(id -u)" = 0 ] || { echo "podwire: needs root to install" $$missing": run it with sudo" >&2; exit 1; }; \
		echo "installing" $$missing; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null; fi
	@echo "making $(VENV)"
	@rm -rf $(VENV)
	@/usr/bin/python3 -m venv --system-site-packages $(VENV)
	@$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

.PHONY: demo
demo: root setup ## a cluster with a shop in it: Services, policies, one packet's journey (under a minute)
	@$(BIN)/podwire lab demo examples/shop

.PHONY: test
test: root setup ## all tests: pure ones, then the real kernel in namespaces of its own
	@$(BIN)/python -m pytest tests integration

.PHONY: unit
unit: setup ## the pure tests: no root needed, seconds
	@$(BIN)/python -m pytest tests

.PHONY: integration
integration: root setup ## the tests that need the kernel
	@$(BIN)/python -m pytest integration

.PHONY: check
check: setup ## format, lint, types, layers: what a commit must pass
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m mypy
	@$(BIN)/python -m pytest -q tests/test_layers.py

.PHONY: client
client: setup ## build the CNI client, a static C program (cni-plugin/client)
	@$(MAKE) --no-print-directory -C cni-plugin/client

KUBERNETES := 1.36.3
KUBERNETES_BIN ?= $(CACHE)/kubernetes/v$(KUBERNETES)
export KUBERNETES_BIN

.PHONY: kubernetes
kubernetes: $(KUBERNETES_BIN)/.built ## build a real control plane from its Go modules, for tests (minutes, once)

$(KUBERNETES_BIN)/.built: integration/kubernetes/go.sum
	@command -v go >/dev/null || { echo "podwire: building Kubernetes needs Go; or set KUBERNETES_BIN to a folder of its programs" >&2; exit 1; }
	@echo "building etcd and Kubernetes $(KUBERNETES) into $(KUBERNETES_BIN)"
	@mkdir -p $(KUBERNETES_BIN)
	@cd integration/kubernetes && GOBIN=$(KUBERNETES_BIN) go install -trimpath \
		-ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES)' tool
	@mv $(KUBERNETES_BIN)/server $(KUBERNETES_BIN)/etcd
	@touch $@

.PHONY: test-kubernetes
test-kubernetes: root setup ## the tests on a lab with a real control plane (see: kubernetes)
	@$(BIN)/python -m pytest integration/lab_kubernetes

.PHONY: clean
clean: ## take down every lab, remove the environment and what tests left
	@[ ! -x $(BIN)/podwire ] || $(BIN)/podwire lab down --all
	@rm -rf $(VENV) build cni-plugin/client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
