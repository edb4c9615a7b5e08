.PHONY: k8s-test k8s-faults

##@ Kubernetes
k8s-test: $(DEV) ## test on a cluster, made here when kubectl has none; ARGS="-k name" goes to pytest
	@k8s-tests/run.sh $(ARGS)

k8s-faults: $(DEV) ## run the long tests on a cluster: outages at their full length
	@k8s-tests/run.sh faults $(ARGS)
