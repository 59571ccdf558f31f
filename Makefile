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
PACKAGES += python3-bpfcc   # bcc: a child of the agent compiles BPF programs with it, and ends
PACKAGES += linux-libc-dev  # the headers they include: the kernel's interface, of any version
PACKAGES += nftables        # nft: for people, and for tests that play a foreign program
PACKAGES += iproute2        # ip: the same
PACKAGES += procps          # sysctl, for tests
PACKAGES += iputils-ping    # ping, for people and for tests
PACKAGES += curl            # what people run in pods
PACKAGES += ca-certificates # pip
PACKAGES += gcc             # the CNI client, a static C program
PACKAGES += libc6-dev       # its headers and libc.a
PACKAGES += iptables        # kube-proxy's other mode, side by side in a lab
PACKAGES += ipset           # kube-router's ruleset, beside ours in a bench
PACKAGES += shellcheck      # scripts of deploy/ and vagrant/
IMAGE_PACKAGES := buildah mmdebstrap runc       # an image built and run without an engine
VAGRANT_PACKAGES := vagrant vagrant-libvirt     # `vagrant validate`
RUNTIME_PACKAGES := containerd runc podman      # runtimes that call the CNI plugin
RUNTIME_PACKAGES += containernetworking-plugins # what is chained behind it, and measured beside it
RUNTIME_PACKAGES += busybox-static              # what runs in their containers
RUNTIME_PACKAGES += iptables                    # portmap and firewall call it
KERNEL_PACKAGES := qemu-system-x86 # guests, emulated where KVM does not work
KERNEL_PACKAGES += mmdebstrap   # their Debian
KERNEL_PACKAGES += squashfs-tools # their disks
KERNEL_PACKAGES += cpio kmod xz-utils # their first file system, and the modules in it
KERNEL_PACKAGES += debian-archive-keyring # what Debian's kernels are signed with
# What RUNTIME_PACKAGES would start now, and at each boot.
RUNTIME_UNITS := containerd.service podman.service podman.socket podman-restart.service
RUNTIME_UNITS += podman-auto-update.service podman-auto-update.timer

.PHONY: help
help: ## this list
	@echo "podwire: make TARGET"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 20

.PHONY: linux root
linux:
	@[ "$$(uname -s)" = Linux ] || { echo "podwire: needs Linux, this is $$(uname -s): use a virtual machine" >&2; exit 1; }
root: linux
	@[ "$$(id -u)" = 0 ] || { echo "podwire: needs root, for network namespaces and nftables: run it with sudo" >&2; exit 1; }

.PHONY: setup
setup: linux $(READY) ## install what is missing: Debian packages (as root), a virtual environment

# $(call install,PACKAGES): those that are missing, as root.
define install
set -e; missing=$$(for package in $(1); do \
	dpkg-query -W -f '$${Status}\n' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
if [ -n "$$missing" ]; then \
	command -v apt-get >/dev/null || { echo "podwire: needs the Debian packages" $$missing": use Debian 12 or newer" >&2; exit 1; }; \
	[ "$$(id -u)" = 0 ] || { echo "podwire: needs root to install" $$missing": run it with sudo" >&2; exit 1; }; \
	echo "installing" $$missing; \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove $$missing; } >/dev/null; fi
endef

$(READY): pyproject.toml Makefile
	@$(call install,$(PACKAGES))
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

# ---------------------------------------------------------------- real runtimes, for tests

# Tests start runtimes of their own, with files of their own: a unit that this installs is masked
# before it exists, so that none runs. Units that are there already stay as they are.
.PHONY: runtimes
runtimes: root ## install containerd, podman and the stock CNI plugins, for tests; nothing is started
	@for unit in $(RUNTIME_UNITS); do \
		[ -e /lib/systemd/system/$$unit ] || [ -e /etc/systemd/system/$$unit ] || { \
			mkdir -p /etc/systemd/system && ln -s /dev/null /etc/systemd/system/$$unit && \
			echo "masked $$unit: \`systemctl unmask $$unit\` if you want it to run"; }; done
	@$(call install,$(RUNTIME_PACKAGES))

.PHONY: test-runtimes
test-runtimes: root setup runtimes ## containerd, podman, cnitool and stock plugins with ours (see: kubernetes, crictl)
	@$(BIN)/python -m pytest integration/runtimes

# ------------------------------------------------------------- real Kubernetes, for tests

KUBERNETES := 1.36.3
KUBERNETES_BIN ?= $(CACHE)/kubernetes/v$(KUBERNETES)
HELM := 4.3.1
HELM_BIN ?= $(CACHE)/helm/v$(HELM)
CRICTL := 1.36.0
CRICTL_BIN ?= $(CACHE)/crictl/v$(CRICTL)
export KUBERNETES_BIN HELM_BIN CRICTL_BIN
# By what is in it, not by when it was cloned: a fresh clone finds what another one built.
digest = $(shell sha256sum $(1) | cut -c1-12)
KUBERNETES_BUILT := $(KUBERNETES_BIN)/.built-$(call digest,integration/kubernetes/go.sum)
HELM_BUILT := $(HELM_BIN)/.built-$(call digest,integration/helm/go.sum)
CRICTL_BUILT := $(CRICTL_BIN)/.built-$(call digest,integration/crictl/go.sum)

.PHONY: kubernetes
kubernetes: $(KUBERNETES_BUILT) ## build a real control plane from its Go modules, for tests (minutes, once)

$(KUBERNETES_BUILT):
	@command -v go >/dev/null || { echo "podwire: building Kubernetes needs Go; or set KUBERNETES_BIN to a folder of its programs" >&2; exit 1; }
	@echo "building etcd and Kubernetes $(KUBERNETES) into $(KUBERNETES_BIN)"
	@mkdir -p $(KUBERNETES_BIN)
	@cd integration/kubernetes && GOBIN=$(KUBERNETES_BIN) go install -trimpath \
		-ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES)' tool
	@mv $(KUBERNETES_BIN)/server $(KUBERNETES_BIN)/etcd
	@touch $@

.PHONY: helm
helm: $(HELM_BUILT) ## build helm and kind from their Go modules, for tests (minutes, once)

$(HELM_BUILT):
	@command -v go >/dev/null || { echo "podwire: building helm needs Go; or set HELM_BIN to a folder of helm and kind" >&2; exit 1; }
	@echo "building helm $(HELM) and kind into $(HELM_BIN)"
	@mkdir -p $(HELM_BIN)
	@cd integration/helm && GOBIN=$(HELM_BIN) go install -trimpath -ldflags '-s -w' tool
	@touch $@

.PHONY: crictl
crictl: $(CRICTL_BUILT) ## build crictl, which asks containerd for pods as kubelet does, for tests (a minute, once)

$(CRICTL_BUILT):
	@command -v go >/dev/null || { echo "podwire: building crictl needs Go; or set CRICTL_BIN to a folder of it" >&2; exit 1; }
	@echo "building crictl $(CRICTL) into $(CRICTL_BIN)"
	@mkdir -p $(CRICTL_BIN)
	@cd integration/crictl && GOBIN=$(CRICTL_BIN) go install -trimpath -ldflags '-s -w' tool
	@touch $@

NETWORK_POLICY_API := $(shell sed -n 's/^require .*network-policy-api v//p' integration/network_policy_api/go.mod)
CLUSTER_POLICIES ?= $(CACHE)/network-policy-api/v$(NETWORK_POLICY_API)
CLUSTER_POLICIES_BUILT := $(CLUSTER_POLICIES)/clusternetworkpolicies.yaml
export CLUSTER_POLICIES

.PHONY: cluster-policies
cluster-policies: $(CLUSTER_POLICIES_BUILT) ## fetch the definition of ClusterNetworkPolicy from its Go module, for tests

$(CLUSTER_POLICIES_BUILT):
	@command -v go >/dev/null || { echo "podwire: fetching it needs Go; or set CLUSTER_POLICIES to a folder of $(notdir $@)" >&2; exit 1; }
	@mkdir -p $(dir $@)
	@cd integration/network_policy_api && go mod download sigs.k8s.io/network-policy-api && install -m 644 \
		"$$(go list -m -f '{{.Dir}}' sigs.k8s.io/network-policy-api)/config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml" $@

# -------------------------------------------------------------------- kernels, in guests

.PHONY: test-kernels
test-kernels: root setup ## nftables and eBPF tests in a QEMU guest of each kernel; KERNELS=5.10,newest chooses
	@$(call install,$(KERNEL_PACKAGES))
	@$(BIN)/python integration/kernels/matrix.py $(if $(KERNELS),--kernels $(KERNELS)) $(KERNEL_OPTIONS)

CI_KERNELS := 5.10,newest
.PHONY: test-kernels-ci
test-kernels-ci: root setup ## the same, of the oldest and the newest kernel alone, and fewer tests
	@$(call install,$(KERNEL_PACKAGES))
	@$(BIN)/python integration/kernels/matrix.py --kernels $(or $(KERNELS),$(CI_KERNELS)) --short $(KERNEL_OPTIONS)

.PHONY: test-kubernetes
test-kubernetes: root setup ## the tests on a lab with a real control plane (see: kubernetes)
	@$(BIN)/python -m pytest integration/lab_kubernetes

.PHONY: soak
soak: root setup ## ten minutes of random API faults; SOAK_SECONDS=N for another time
	@PODWIRE_FAULT_SECONDS=$(or $(SOAK_SECONDS),600) $(BIN)/python -m pytest -s integration/core/test_feed_faults.py

.PHONY: bench-feed
bench-feed: root setup ## 100,000 endpoints in a real API server: list, memory, one change
	@$(BIN)/python bench/feed.py

.PHONY: bench-services
bench-services: root setup ## Services beside kube-proxy and its layout: load, growth, change, connect
	@$(BIN)/pip install --quiet --editable '.[bench]'
	@$(BIN)/python bench/services.py $(BENCH_OPTIONS)

.PHONY: bench-cni
bench-cni: root setup ## pods' networks beside the stock plugins: one by one, many at once, memory
	@$(call install,containernetworking-plugins)
	@$(BIN)/python bench/cni.py $(BENCH_OPTIONS)

.PHONY: bench-policy
bench-policy: root setup ## policies beside kube-router's iptables and ipsets: load, pods that come, memory, connect
	@$(BIN)/python bench/policy.py $(BENCH_OPTIONS)

.PHONY: bench-ebpf
bench-ebpf: root setup ## Services answered at connect(), beside nftables, kube-proxy's layout and nothing
	@$(BIN)/python bench/ebpf.py $(BENCH_OPTIONS)

# --------------------------------------------------------------------- what installs us

.PHONY: image
image: ## build the agent's image with docker, podman or buildah
	@deploy/build-image

.PHONY: test-image
test-image: root setup ## build the image with buildah and run it with the DaemonSet's rights
	@$(call install,$(IMAGE_PACKAGES))
	@PODWIRE_IMAGE_TEST=1 $(BIN)/python -m pytest integration/deploy/test_image.py

.PHONY: test-vagrant
test-vagrant: root setup ## the Vagrantfile and the kind cluster, as their own programs check them
	@$(call install,$(VAGRANT_PACKAGES))
	@$(BIN)/python -m pytest integration/deploy/test_machines.py

.PHONY: manifests
manifests: ## make deploy/podwire.yaml anew from deploy/overlays/all
	@KUBECTL=$(KUBERNETES_BIN)/kubectl deploy/render

.PHONY: kind
kind: ## a kind cluster with podwire as its only network (docker, kind, kubectl)
	@vagrant/kind/up

.PHONY: clean
clean: ## take down every lab, remove the environment and what tests left
	@[ ! -x $(BIN)/podwire ] || $(BIN)/podwire lab down --all
	@rm -rf $(VENV) build cni-plugin/client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
