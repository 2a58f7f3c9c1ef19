# The front door. `make help` lists what there is; e2e/xtask holds the logic.
XTASK := cargo run --quiet --locked -p xtask --

.PHONY: help demo test test-fast torture fuzz bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: ## run the platform on a temporary directory and watch a conversation
	@$(XTASK) demo

test: ## everything: format, lints, unit tests, end-to-end tests, documentation, a little fuzzing
	@$(XTASK) test

test-fast: ## format, lints, unit and one-process tests
	@$(XTASK) test-fast

torture: ## the long version of the fault tests (1,000 kills)
	@$(XTASK) torture

fuzz: ## an hour of fuzzing per target
	@$(XTASK) fuzz

bench: ## measure; prints a table and writes target/bench.json
	@$(XTASK) bench
