##@ Chart and image

CHART := charts/regent
IMAGE ?= regent
IMAGE_TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/regent/__init__.py)
CONTAINER_TOOL ?= docker

GENERATORS += generate_chart
GENERATED += $(CHART)/values.yaml $(CHART)/values.schema.json $(CHART)/README.md $(CHART)/templates/_rules.tpl $(CHART)/templates/crds charts/regent-agent/templates/_rules.tpl
define generate_chart
$(BIN)/python -m make.chart.generate $(1)
endef

GENERATORS += generate_manifests
GENERATED += deploy/base/regent.yaml deploy/components/stamp-requester/stamp.yaml deploy/member/fence.yaml deploy/member/roles
define generate_manifests
$(BIN)/python -m make.chart.manifests $(1)
endef

.PHONY: chart
chart: setup ## Lint, render and package the chart with Helm
	@helm=$$($(BIN)/python -c 'from testbed.toolchain import ensure; print(ensure("helm"))'); \
	"$$helm" lint --strict --quiet $(CHART); \
	"$$helm" template regent $(CHART) --namespace regent-system > /dev/null; \
	mkdir -p build; \
	"$$helm" package $(CHART) --destination build

.PHONY: image
image: ## Build the container image (IMAGE=…, CONTAINER_TOOL=docker|podman|buildah)
	$(CONTAINER_TOOL) build --tag $(IMAGE):$(IMAGE_TAG) .
