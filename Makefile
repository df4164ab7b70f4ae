# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help tools tools-standalone tools-kubernetes tools-node tools-argocd build lint test test-contracts e2e test-argocd bench
.PHONY: bench-models quality agreement ablation pictures bench-operator bench-replicas soak images manifests run run-standalone docs reference clean-tools

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: tools-standalone tools-node ## get what the tests run; afterwards no network is needed

tools-standalone: ## the part of it that needs no Go: TSDB, vmalert, ... and the crates
	@tools/get.sh
	@cargo fetch --locked
	@echo "crates                     fetched as Cargo.lock says"

tools-kubernetes: ## the part of it that is built with Go (1.26), in some eight minutes: Kubernetes, etcd, Helm, CoreDNS
	@tools/build-go.sh

tools-node: tools-kubernetes ## the part of it that a whole Kubernetes node needs besides: container runtime, network plugins
	@tools/get-node.sh

tools-argocd: ## the argocd program, which only the test of the Argo CD health check needs
	@tools/build-go.sh argocd

build: ## build the programs, optimised, into target/release
	cargo build --workspace --bins --release --locked

lint: ## formatting, clippy, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny@0.20.2" >&2; exit 1; }
	cargo deny check bans licenses sources

# With the tests, cargo builds the programs that they start. The whole workspace each time: with other packages their
# dependencies would have other features, and most would be built again. Offline, cargo is content with what `make tools` fetched.
test: ## all tests, against the real components of `make tools`; of the stories on a Kubernetes node the main three
	cargo test --workspace --locked
	@if unshare --net --mount --pid --fork --mount-proc true 2>/dev/null; \
	then cargo test --workspace --locked --test stories -- quickstart:: shards:: killed_worker::; \
	else echo "this user may not make namespaces, as root may: the stories on a Kubernetes node were left out" >&2; fi

# The newer release is a build of its own, with the feature `next-contract`. All packages are named each time, so that what
# they depend on is built once.
WITH_NEXT_CONTRACT = -p worker -p operator -p tests --features tests/next-contract
test-contracts: ## upgrade and downgrade between two contracts of operator and workers, with a second build of both
	cargo build --locked -p worker -p operator -p tests --bins
	cargo build --locked $(WITH_NEXT_CONTRACT) --bin vmanomaly-next-contract
	cargo test --locked -p config --features next-contract --lib topology
	cargo test --locked $(WITH_NEXT_CONTRACT) --test ranks upgrades::
	cargo test --locked $(WITH_NEXT_CONTRACT) --test operator contract

e2e: tools test-contracts ## all stories on a whole one-node Kubernetes in namespaces of its own; needs root; CLUSTER=: on that cluster
	cargo build --workspace --bins --locked
	cargo test --locked -p e2e --test node --test run --test stories

# Criterion's own figures first, then those of our models and of the Python libraries by turns, then those of whole processes,
# against the real TSDB of `make tools`.
bench: ## the figures of docs/performance.md, in some fifteen minutes after the build
	cargo build --release --locked -p worker -p tests --bins
	cargo bench --locked -p detect -p config -p worker --bench online --bench classes --bench multivariate --bench ownership --bench range_answer \
		--bench storage -- --warm-up-time 0.5 --measurement-time 1
	@$(MAKE) --no-print-directory bench-models
	@"$${CARGO_TARGET_DIR:-target}/release/figures" $(ARGS)

# One core each: neither side has another to go to.
bench-models: ## our models against the Python libraries (from PyPI, if it answers) alone; writes target/bench/ratios.csv
	cargo bench --locked -p detect --bench peers --no-run
	@venv="$${CARGO_TARGET_DIR:-$$PWD/target}/bench/venv"; tools/python-environment.sh "$$venv" detect/benches/peers/requirements.txt; \
	PEERS_PYTHON="$$venv/bin/python" $$(command -v taskset >/dev/null && echo taskset --cpu-list 0) \
		cargo bench --quiet --locked -p detect --bench peers

# LABELLED=: a folder of labelled series, with a manifest.csv; without it one that lies beside this folder, else the shipped sample.
LABELLED ?= $(firstword $(patsubst %/manifest.csv,%,$(wildcard ../*/labelled/dev/manifest.csv)) examples/labelled)
# What `calibrated` is asked for, beside its default of 0.1 a day.
RATES = $(foreach rate,0.02 0.5 2,--variant false_alarms_per_day=$(rate))
quality: agreement ## what every class finds in labelled series and how often it cries wolf: docs/detection-quality.md; LABELLED=: yours
	cargo build --release --locked -p worker --bin vmanomaly
	@mkdir -p "$${CARGO_TARGET_DIR:-target}/quality"
	@"$${CARGO_TARGET_DIR:-target}/release/vmanomaly" evaluate $(LABELLED) --all --variant band_floor=0 --variant influence_limit=4 \
		--variant exclude_incidents=true $(RATES) $(ARGS) | tee "$${CARGO_TARGET_DIR:-target}/quality/figures.md"
	@echo "what each part of the default model is worth, in some ten minutes: make ablation" >&2

# With a Python that has numpy and numba, from PyPI if it answers; else only the stored cases are compared.
agreement: ## the default model against its reference program, over stored cases and the series of LABELLED=
	@detect/tests/reference/run.sh agreement $(LABELLED)

ablation: ## what each part of the default model is worth, and is to be expected of other series; needs Python, LABELLED=: yours
	@detect/tests/reference/run.sh ablation $(LABELLED)

pictures: ## draw the pictures of docs/ anew; those of errors and groups where LABELLED= is the development split
	cargo build --release --locked -p worker --bin vmanomaly
	@tools/pictures.sh "$${CARGO_TARGET_DIR:-target}/release/vmanomaly" $(LABELLED)

bench-operator: tools-kubernetes ## the figures of the operator in docs/performance.md, in some twelve minutes after the build
	cargo build --release --locked -p operator -p tests --bins
	@"$${CARGO_TARGET_DIR:-target}/release/operator-figures" $(ARGS)

bench-replicas: ## the figures of shards and replicas in docs/performance.md, in some twenty minutes after the build
	cargo build --release --locked -p worker -p tests --bins
	@"$${CARGO_TARGET_DIR:-target}/release/replica-figures" $(ARGS)

# MINUTES= of everything at once, after every fault alone; SEED=: the same again; SERIES=, EVERY=: the load;
# SIM_SEEDS=a..b: these seeds of the simulation before.
soak: tools ## hours of faults on a Kubernetes node, compared with a calm run; needs root; MINUTES=, SEED=, SIM_SEEDS=
	$(if $(SIM_SEEDS),SIM_SEEDS=$(SIM_SEEDS) cargo test --release --locked -p tests simulation -- --nocapture)
	cargo build --release --locked -p worker -p operator -p e2e --bins
	@"$${CARGO_TARGET_DIR:-target}/release/soak" $(ARGS)

images: ## build the container images, with Docker or without; REGISTRY=: push them; KIND=: load them into that kind cluster
	@cargo run --quiet --locked -p e2e --bin images -- $(ARGS)

# CLUSTER=<kubeconfig context> uses that cluster, which gets the images from REGISTRY or is one of kind.
# CHAOS=1 takes any seed, CHAOS=<seed> this one.
run: ## the whole system on a Kubernetes of its own, live; needs root; ONCE=1: as below; CHAOS=1: kills pods; CLUSTER=
	@tools/run.sh $(if $(ONCE),--once) $(if $(CHAOS),--chaos=$(if $(filter 1,$(CHAOS)),0,$(CHAOS))) $(ARGS)

# Extra arguments of the program: ARGS=--help
run-standalone: tools-standalone ## the whole system on this machine, live; ONCE=1: replay the incident, check the alert, exit
	cargo build --workspace --exclude e2e --bins --locked
	@"$${CARGO_TARGET_DIR:-target}/debug/run-standalone" $(if $(ONCE),--once) $(ARGS)

# REGISTRY and TAG go into the manifests: `make manifests REGISTRY=registry.example.com/vmanomaly OUT=mine`.
manifests: ## write what deploy/ and the chart have from elsewhere anew; OUT=, REGISTRY=, TAG=, NAMESPACE=: for a cluster of yours
	@cp crds/yaml/*.yaml charts/vmanomaly-operator/files/
	@REGISTRY=$(REGISTRY) TAG=$(TAG) NAMESPACE=$(NAMESPACE) deploy/render.sh $(OUT)

test-argocd: ## Argo CD's judgement of our objects' health, by the program that `make tools-argocd` builds
	@deploy/argocd/test.sh

docs: ## the API documentation of every crate, into target/doc
	cargo doc --workspace --no-deps --locked

reference: ## write the generated definitions and the generated pages and tables of docs/ anew
	cargo run --quiet --locked -p crds --bin crdgen
	cargo run --quiet --locked -p crds --example reference
	cargo run --quiet --locked -p config --example configuration_reference

clean-tools: ## remove what `make tools` unpacked
	rm -rf .tools
