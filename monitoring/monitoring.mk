.PHONY: monitoring picture

##@ Monitoring
monitoring: $(DEV) ## generate the alert rules and dashboards
	$(PY) -m monitoring

picture: $(DEV) ## draw docs/platform-dashboard.png from a run of the live test
	mkdir -p .data
	RECORDING=.data/recording.json $(PY) -m pytest -m faults tests/monitoring/test_live.py
	$(PY) -m monitoring.picture .data/recording.json docs/platform-dashboard.png
