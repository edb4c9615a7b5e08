"""Logs, trace ids, metrics and the admin port, shared by both services."""
