.PHONY: monitoring

##@ Monitoring
monitoring: $(DEV) ## generate the alert rules and dashboards
	$(PY) -m monitoring
