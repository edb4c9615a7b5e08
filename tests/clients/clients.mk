.PHONY: clients-test
CLIENTS := $(call stamp,.venv-clients,clients)
clients_pip := .venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

##@ Clients
clients-test: $(DEV) $(CLIENTS) ## generate clients from the contract in four languages and use them; ARGS="-k name" goes to pytest
	$(PY) -m pytest tests/clients -m clients --durations=0 --durations-min=1 $(ARGS)

# Go and Node.js come along where the machine has none, or one that is too old.
$(CLIENTS):
	$(call install,.venv-clients,clients)
	@go version 2>/dev/null | grep -qE ' go1\.(2[4-9]|[3-9][0-9])' || $(clients_pip) requirements/go.txt
	@node -e 'process.exit(parseInt(process.versions.node) < 20)' 2>/dev/null || $(clients_pip) requirements/node.txt

.DELETE_ON_ERROR:
