"""What an operator sees: alert rules and dashboards, generated from the objectives and thresholds that both share."""
