"""What any service here stands on: registry, telemetry, settings, and the start and stop of a process."""
