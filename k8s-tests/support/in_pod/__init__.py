"""Programs that run inside a pod of the cluster, with nothing but what the images of the services hold."""
