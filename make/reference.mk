# Reference documents that are written by what they describe; see generate.mk.

GENERATORS += generate_cli_reference
GENERATED += docs/reference/cli.md
define generate_cli_reference
$(BIN)/python -m regent.cli.reference $(1)/docs/reference/cli.md
endef

GENERATORS += generate_settings_reference
GENERATED += docs/reference/settings.md
define generate_settings_reference
mkdir -p $(1)/docs/reference
$(BIN)/python -m regent.settings > $(1)/docs/reference/settings.md
endef

GENERATORS += generate_metrics_reference
GENERATED += docs/reference/metrics.md
define generate_metrics_reference
mkdir -p $(1)/docs/reference
$(BIN)/python -m regent.adapters.metrics > $(1)/docs/reference/metrics.md
endef

GENERATORS += generate_receivers_reference
GENERATED += docs/reference/receivers.md docs/reference/receivers.schema.json
define generate_receivers_reference
$(BIN)/python -m regent.adapters.egress.reference $(1)/docs/reference
endef
