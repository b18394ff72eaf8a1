##@ Try and test
# Everything here needs no Docker. Programs that are not in the cache yet are built first, with their progress.
PYTEST ?= $(BIN)/pytest
WORKERS ?= 2

.PHONY: demo
demo: setup system-packages ## A region dies, traffic moves, and comes back (KEEP=1: leave it running); needs root
	@$(BIN)/python -m testbed demo

.PHONY: demo-database
demo-database: setup system-packages ## PostgreSQL moves to the other region twice; every acknowledged write is checked; needs root
	@$(BIN)/python -m testbed demo-database

.PHONY: test
test: setup system-packages tools patroni ## All tests that need no Docker
	@$(PYTEST) -n $(WORKERS) --dist loadgroup -p no:cacheprovider -q --durations=25 --durations-min=10

.PHONY: unit
unit: setup ## Only the tests that need no cluster, no network namespace and no other program
	@$(PYTEST) tests/unit tests/property tests/component tests/arch -n $(WORKERS) -q -m "not cluster and not e2e"

.PHONY: test-properties
test-properties: setup ## Look for examples that break a property: new ones each time, where `make test` repeats its own
	@HYPOTHESIS_PROFILE=search $(PYTEST) tests/property -n $(WORKERS) -q --timeout 3600

.PHONY: e2e
e2e: setup system-packages tools patroni ## Only the end-to-end tests on real parts
	@$(PYTEST) tests/e2e -q

CRASH ?= all
CRASH_KIND ?=
CRASH_ONLY ?=

.PHONY: test-crash
test-crash: setup system-packages tools ## The leader dies at every boundary of every run, not only in a sample (CRASH=5: of five each; CRASH_KIND=, CRASH_ONLY=: see CONTRIBUTING)
	@rm -rf .cache/crash
	@code=0; REGENT_CRASH=$(CRASH) REGENT_CRASH_ONLY='$(CRASH_ONLY)' $(PYTEST) tests/e2e/crash -k '$(CRASH_KIND)' -n $(WORKERS) --dist loadgroup -p no:cacheprovider -q || code=$$?; \
	$(BIN)/python -m tests.e2e.crash.report; exit $$code

.PHONY: test-crash-replication
test-crash-replication: setup tools ## The operator is killed -9 at every write of copying, one-way and in both directions, not only in a sample
	@REGENT_CRASH=all $(PYTEST) tests/cluster/replication -k crash -p no:cacheprovider -q

ROUNDS ?= 20
.PHONY: test-database
test-database: setup system-packages tools patroni ## Random faults on real PostgreSQL: ROUNDS=20, SEED=n to repeat; about 40 s a round
	@REGENT_ROUNDS=$(ROUNDS) REGENT_SEED=$(SEED) $(PYTEST) tests/e2e/test_database.py -k "random or died_whole" -q -s

SEEDS ?= 10000
KIND ?=

.PHONY: simulate
simulate: setup ## Random faults in virtual time: SEEDS=10000 scenarios, or one with its trace: SEED=n make simulate
	@PYTHONPATH=operator $(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) --only '$(KIND)'

.PHONY: simulate-mutants
simulate-mutants: setup ## Plant faults into the operator, each of which the simulation has to find
	@PYTHONPATH=operator $(BIN)/python -m tests.simulation --mutants

# Network namespaces and packet rules: what regions are made of; and PostgreSQL, which their databases are.
.PHONY: system-packages
system-packages:
	@missing=""; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v nft >/dev/null || test -x /usr/sbin/nft || missing="$$missing nftables"; \
	command -v setpriv >/dev/null || missing="$$missing util-linux"; \
	command -v knotd >/dev/null || test -x /usr/sbin/knotd || missing="$$missing knot"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "system-packages: installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
		echo "system-packages: install$$missing first, as root: apt-get install$$missing" >&2; exit 1; \
	fi
