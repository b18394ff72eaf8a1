##@ Testbed
.PHONY: tools
tools: setup ## Build the testbed's programs from Go modules (once; about 20 minutes)
	@$(BIN)/python -m testbed build

.PHONY: patroni
patroni: setup ## Install Patroni for the testbed's databases (once; 15 seconds; root only, as the databases)
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m testbed build --patroni >/dev/null; fi

.PHONY: cluster
cluster: setup ## Run a local control plane in the foreground
	@$(BIN)/python -m testbed cluster up --crds crds --gateway-api

.PHONY: kind-up
kind-up: setup ## Create a kind cluster instead (needs Docker and kind)
	@$(BIN)/python -m testbed cluster kind --config deploy/kind.yaml
