# The front door. `make help` lists what there is; e2e/xtask holds the logic.
XTASK := cargo run --quiet --locked -p xtask --

.PHONY: help demo check test test-quick test-processes test-fast test-mariadb test-cluster test-upgrade e2e-kind torture fuzz mutants bench bench-operator image release-dry-run cluster-up cluster-down cluster-shell

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: ## run the platform on a temporary directory and watch a conversation; make demo STORE=mysql on a MariaDB of its own
	@cargo run --locked -p xtask -- demo $(if $(STORE),--store $(STORE))

check: ## lints and tests of one crate in a minute or two: make check CRATE=im-msg
	@$(XTASK) check $(CRATE)

test: ## everything: format, lints, documentation, unit tests, end-to-end tests, a little fuzzing, a Kubernetes node (root, Go); what hangs is named
	@$(XTASK) test

test-fast: ## everything of it that needs neither root nor a cluster
	@$(XTASK) test-fast

test-quick: ## the first half of that, in minutes: format, licences, lints, documentation, every test that starts no server process
	@$(XTASK) test-quick

test-processes: ## the other half: tests over real processes, a little fuzzing
	@$(XTASK) test-processes

test-mariadb: ## only the tests on MariaDB: of the store, and of servers that use it (fetches its Debian packages once)
	@$(XTASK) test-mariadb

test-cluster: ## only the tests on a real Kubernetes node (needs root)
	@$(XTASK) test-cluster

test-upgrade: ## move installations from an earlier revision to this one and back, on a node: make test-upgrade FROM=v0.1.0 (needs root)
	@$(XTASK) test-upgrade $(if $(FROM),--from $(FROM))

e2e-kind: ## the same tests on a kind cluster (needs root, Docker, kind, kubectl, Helm)
	@$(XTASK) e2e-kind

torture: ## the long version of the fault tests: 1,000 kills, parts of Kubernetes away for many minutes
	@IM_TORTURE=1 $(XTASK) torture

fuzz: ## an hour of fuzzing per target
	@$(XTASK) fuzz

mutants: ## change the pure cores one function at a time and list what no test notices: make mutants CORE=position
	@$(XTASK) mutants $(CORE)

bench: ## measure; prints a table and writes target/bench.json; make bench STORE=mysql on MariaDB
	@$(XTASK) bench $(if $(STORE),--store $(STORE))

bench-operator: ## measure the operator on a Kubernetes node; prints a table and writes target/bench-operator.json (needs root)
	@$(XTASK) bench-operator

image: ## the images of a release, as OCI archives in target/images
	@$(XTASK) image

release-dry-run: ## the files of a release in target/release-files, and nothing is sent: images, bills of materials, charts with digests
	@$(XTASK) release-dry-run

cluster-up: ## start a Kubernetes node on this machine (needs root)
	@$(XTASK) cluster up

cluster-down: ## end that node and everything in it
	@$(XTASK) cluster down

cluster-shell: ## a shell inside that node, with kubectl and helm
	@$(XTASK) cluster shell
