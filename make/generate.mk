##@ Generated files
# A generator is a command that writes its files below a root directory, $(1): `make generate` runs all of them on the
# repository, `make verify` on an empty directory, and compares. To add one: define it, and add its name to GENERATORS
# and what it writes to GENERATED.

GENERATORS += generate_api
GENERATED += crds docs/reference/api.md
define generate_api
$(BIN)/python -m regent.api.v1alpha1.generate crds $(1)/crds
$(BIN)/python -m regent.api.v1alpha1.generate reference $(1)/docs/reference/api.md
endef

define newline


endef

.PHONY: generate
generate: setup ## Write everything that is generated: CRDs, reference
	$(foreach generator,$(GENERATORS),$(subst $(newline),$(newline)	,$(call $(generator),.))$(newline)	)

.PHONY: verify
verify: setup ## Fail, with the difference, when a generated file is stale
	@root=$$(mktemp -d); trap 'rm -rf "$$root"' EXIT; \
	$(foreach generator,$(GENERATORS),$(subst $(newline), && ,$(call $(generator),"$$root")) && ) true; \
	stale=0; for path in $(GENERATED); do diff --recursive --unified --exclude=.gitkeep "$$path" "$$root/$$path" || stale=1; done; \
	if [ $$stale = 1 ]; then echo "verify: the files above are stale: run 'make generate' and commit them" >&2; exit 1; fi; \
	echo "verify: $(GENERATED) are as generated"
