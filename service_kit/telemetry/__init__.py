"""What both services share to be observed: logs, trace ids, metrics and the admin port."""
