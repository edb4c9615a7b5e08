.PHONY: cluster cluster-down

cluster: ## make a one-node Kubernetes on this machine and print the line that selects it
	@k8s-tests/cluster/up.sh

cluster-down: ## take that cluster down
	@k8s-tests/cluster/down.sh
