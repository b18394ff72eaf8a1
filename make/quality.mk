##@ Quality
.PHONY: fmt
fmt: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet . || true

.PHONY: lint
lint: setup ## Formatter, linter and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache

.PHONY: types
types: setup ## Strict type check
	@$(BIN)/mypy

.PHONY: lock
lock: setup ## Resolve the requirements again into the lock files
	@for set in runtime dev patroni; do $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 requirements/$$set.in -o requirements/$$set.lock; done
