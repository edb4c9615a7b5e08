# What a developer types; `make help` lists it. Each virtual environment is created once, and again when its lock changes.

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
endif

# The name of a stamp says what was installed: which Python, which lock.
stamp = $(1)/installed-$(shell { $(PYTHON) -V; cat requirements/$(2).txt; } 2>/dev/null | cksum | cut -d ' ' -f 1)
DEV := $(call stamp,.venv,dev)
RUN := $(call stamp,.venv-run,run)
PY := .venv/bin/python
RUN_PY := .venv-run/bin/python
OUT := .
DIST := dist
BUILDER := docker
REPOSITORY := localhost/video-platform
comma := ,
CHARTS := $(addprefix charts/,etcd mysql user-svc gateway-svc video-platform)
GROUPS := dev run user gateway build skaffold go node clients

.PHONY: charts-test charts-tools charts-docs charts-schema charts-package images images-tools help run users demo test coverage faults bench lint protos docs lock version
.DEFAULT_GOAL := help

help:
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Run
run: $(RUN) ## run the platform on this machine until Ctrl-C; USERS=3 runs three user services
	@exec $(RUN_PY) -u -m run

users: $(RUN) ## do something about the users of `make run`; ARGS="list", ARGS="--help"
	@exec $(RUN_PY) -m user_svc users $(ARGS)

demo: $(DEV) ## show what clients notice when parts of the platform fail: nothing; two minutes
	@$(PY) -u -m tests.demo

##@ Check
test: $(DEV) ## run the tests, eleven minutes; ARGS="-k name" goes to pytest
	$(PY) -m pytest -n 2 --dist loadscope $(ARGS)

coverage: $(DEV) ## run the tests and print the branches that they leave out
	@mkdir -p .data/coverage
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n 2 --dist loadscope $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report --fail-under=$(if $(ARGS),0,95)

faults: $(DEV) ## run the outages at their full length
	$(PY) -m pytest -m "faults and not exclusive" -n 4 $(ARGS) # they wait, most of the time
	$(PY) -m pytest -m "faults and exclusive" $(ARGS)

bench: $(DEV) $(RUN) ## measure, and print ratios beside their goals, fifteen minutes; ARGS="gateway" measures one case
	$(PY) -m bench $(ARGS)

lint: $(DEV) ## run the checks of .pre-commit-config.yaml; helm lint is one of charts-test
	SKIP=helm-lint .venv/bin/pre-commit run --all-files --show-diff-on-failure

##@ Generate
protos: $(DEV) ## regenerate the code of protos/
	$(PY) -m grpc_tools.protoc -I . --plugin=protoc-gen-mypy_grpc=$(dir $(PY))protoc-gen-mypy_grpc \
	  --python_out=$(OUT) --pyi_out=$(OUT) --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) protos/user/v1/user.proto

docs: $(DEV) ## generate the tables of settings in docs/
	$(PY) -m docs.configuration

lock: $(DEV) ## resolve requirements/ from pyproject.toml
	for group in $(GROUPS); do \
	  [ $$group = dev ] && pins= || pins="-c requirements/dev.txt"; \
	  .venv/bin/uv pip compile --quiet pyproject.toml --group $$group $$pins --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/$$group.txt || exit; \
	done

version: ## write a new version everywhere it is stated: V=X.Y.Z
	@$(PYTHON) version.py $(V)

include monitoring/monitoring.mk
include k8s-tests/cluster/cluster.mk
include k8s-tests/k8s-tests.mk
include tests/clients/clients.mk

##@ Charts
charts-test: $(DEV) ## test the charts, with helm and without a cluster; ARGS="-k name" goes to pytest
	$(PY) -m pytest k8s-tests/charts -n 2 $(ARGS)

charts-tools: ## build what writes and judges the charts' manifests, from the Go module registry
	k8s-tests/cluster/binaries.sh helm helm4 charts

charts-docs: ## generate the README of each chart from its values.yaml
	"$$(k8s-tests/cluster/binaries.sh charts)"/helm-docs --chart-search-root charts --sort-values-order file \
	  --chart-to-generate $(subst $() $(),$(comma),$(CHARTS)) \
	  --template-files ./README.md.gotmpl --skip-version-footer --log-level error

charts-schema: $(DEV) ## generate the values.schema.json of each chart
	$(PY) charts/schemas.py

charts-package: ## package the charts into dist/charts; PUSH=oci://REGISTRY/charts pushes them, too
	rm -rf $(DIST)/charts
	helm=$${HELM:-$$(command -v helm || echo "$$(k8s-tests/cluster/binaries.sh helm)/helm")} && \
	"$$helm" package $(CHARTS) --destination $(DIST)/charts && \
	for package in $(if $(PUSH),$(DIST)/charts/*.tgz); do "$$helm" push $$package $(PUSH) $(PUSH_FLAGS) || exit; done

images-tools: ## build what writes the SBOMs of images, from the Go module registry
	k8s-tests/cluster/binaries.sh syft

images: ## build both images, and write the SBOM of each into dist/images; BUILDER=podman, REPOSITORY=registry.example.com/team
	mkdir -p $(DIST)/images
	syft=$$(command -v syft || echo "$$(k8s-tests/cluster/binaries.sh syft)/syft") && \
	for name in user gateway; do \
	  image=$(REPOSITORY)/$$name-svc:$$(cat VERSION) && archive=$(DIST)/images/$$name-svc.tar && \
	  $(BUILDER) build --file Dockerfile.$$name --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_FLAGS) --tag $$image . && \
	  $(BUILDER) save --output $$archive $$image && \
	  "$$syft" scan --quiet docker-archive:$$archive --source-name $$image --output spdx-json=$(DIST)/images/$$name-svc.spdx.json && \
	  rm $$archive || exit; \
	done

# A line that counts the packages as pip collects them, on a terminal.
progress = while read -r verb name rest; do \
  if [ -t 1 ] && [ "$$verb" = Collecting ]; then n=$$((n + 1)); printf '\r\033[K  %d of %d packages: %s' $$n $$(grep -c '^[a-z].*==' requirements/$(2).txt) "$$name"; fi; \
  done; if [ -t 1 ]; then printf '\r\033[K'; fi

define install
	@command -v $(PYTHON) >/dev/null || \
	  { echo 'error: $(PYTHON) is not there; install Python 3.11 or later, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) -V 2>&1) is too old; install Python 3.11 or later, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'error: $(PYTHON) comes without its venv module; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@[ "$$($(1)/bin/python -V 2>/dev/null)" = "$$($(PYTHON) -V)" ] || $(PYTHON) -m venv --clear $(1)
	@rm -f $(1)/installed-*
	@echo 'installing requirements/$(2).txt into $(1), which takes a minute or two'
	@{ $(1)/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements/$(2).txt && touch $@; } | $(progress)
	@[ -e $@ ] || { echo 'error: the packages could not be installed, as pip says above; try again once a package index can be reached' >&2; exit 1; }
endef

$(DEV):
	$(call install,.venv,dev)

$(RUN):
	$(call install,.venv-run,run)
