SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
GROUPS := dev run user gateway

.PHONY: protos lock lint

$(VENV)/dev: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

protos: $(VENV)/dev ## regenerate the code of protos/
	$(PY) -m grpc_tools.protoc -I . --plugin=protoc-gen-mypy_grpc=$(VENV)/bin/protoc-gen-mypy_grpc \
	  --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=. protos/user/v1/user.proto

lock: $(VENV)/dev ## resolve requirements/ anew from pyproject.toml
	for group in $(GROUPS); do \
	  [ $$group = dev ] && pins= || pins="-c requirements/dev.txt"; \
	  $(VENV)/bin/uv pip compile --quiet pyproject.toml --group $$group $$pins --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/$$group.txt || exit; \
	done

lint: $(VENV)/dev
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy
