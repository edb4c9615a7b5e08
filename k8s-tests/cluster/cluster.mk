.PHONY: cluster cluster-down cluster-docker cluster-cert-manager

##@ A cluster of its own
cluster: ## make a one-node Kubernetes on this machine and print the line that selects it
	@k8s-tests/cluster/up.sh

cluster-down: ## take that cluster down
	@k8s-tests/cluster/down.sh

cluster-docker: ## give that cluster a Docker daemon and a registry, for skaffold
	@k8s-tests/cluster/docker.sh

cluster-cert-manager: ## give that cluster cert-manager, with the issuers CA and self-signed
	@k8s-tests/cluster/cert-manager.sh
