##@ Benchmarks
# Each prints tables and writes .cache/bench/<name>.json; docs/benchmarks.md says what they measure. Need root (network
# namespaces), and a quiet machine for figures that mean something.
BENCHES := failover steps idle scale storm database replication
BENCH_ARGS ?=
# For bench-replication: how many objects, copied to how many clusters.
OBJECTS ?= 10000
TARGETS ?= 2

.PHONY: bench
bench: $(addprefix bench-,$(BENCHES)) ## Run all benchmarks (about an hour)

.PHONY: $(addprefix bench-,$(BENCHES))
$(addprefix bench-,$(BENCHES)): bench-%: setup ## Run one: bench-failover, -steps, -idle, -scale, -storm, -database, -replication (BENCH_ARGS=..., OBJECTS=10000)
	@$(BIN)/python -m tests.perf.$*_bench $(if $(filter replication,$*),--objects $(OBJECTS) --targets $(TARGETS)) $(BENCH_ARGS)
