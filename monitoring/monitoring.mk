.PHONY: monitoring

monitoring: $(DEV) ## generate the alert rules and dashboards
	$(PY) -m monitoring
