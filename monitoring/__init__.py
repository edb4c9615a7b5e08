"""Alert rules and dashboards, generated from the objectives and limits that both share."""
