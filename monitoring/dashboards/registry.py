"""Registry: who is registered in etcd, and which gateways know them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.builders import EVERY_PROCESS, GATEWAYS, USER_SERVICES, dashboard, graph, quantiles, states
from monitoring.limits import JOBS, REGISTRATIONS, SNAPSHOT_AGE


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        dashboard(
            "video-platform-registry",
            "Video platform: registry",
            "Who is registered in etcd, and which gateway knows of it.",
            JOBS,
        )
        .with_row(Row("Who is registered?"))
        .with_panel(
            states(
                "Who holds a lease?",
                "All user services should. None for longer than the TTL: etcd is unavailable. One that does not: it "
                "advertises the address of another, or was frozen.",
                {"{{instance}}": f"registry_lease_held{{{USER_SERVICES}}}"},
                yes="held",
                no="not held",
            )
        )
        .with_panel(
            graph(
                "How often does an instance register again?",
                "Times within 15 minutes, by instance and reason. A restart of etcd takes one or two; more is an "
                "etcd that is unwell or two instances with one address (`key_overwritten`).",
                "short",
                {
                    "{{instance}} {{reason}}": (
                        "sum by (instance, reason) "
                        f'(increase(registry_registrations_total{{{USER_SERVICES},reason!="start"}}[15m]))'
                    )
                },
                alarm=REGISTRATIONS,
            )
        )
        .with_panel(
            graph(
                "How many instances are registered?",
                "Leases that are held, beside the instances that Prometheus scrapes.",
                "short",
                {
                    "leases held": f"sum (registry_lease_held{{{USER_SERVICES}}})",
                    "scraped": f"sum (up{{{USER_SERVICES}}})",
                },
            )
        )
        .with_row(Row("Do gateways know the instances?"))
        .with_panel(
            graph(
                "How many user services does each gateway know?",
                "The last set is never given up, so an unavailable or empty etcd takes nothing from it.",
                "short",
                {"{{instance}}": f"registry_endpoints{{{GATEWAYS}}}"},
            )
        )
        .with_panel(
            states(
                "Which gateway reaches a user service?",
                "All should. One that does not has no instance that is serving, or cannot resolve USER_SERVICE_TARGET: "
                "its log has the cause.",
                {"{{instance}}": f"users_reachable{{{GATEWAYS}}}"},
                yes="reached",
                no="not reached",
            )
        )
        .with_panel(
            graph(
                "How old is what each gateway knows?",
                "Up to 5 s is normal. What is old is still used; instances that are gone are noticed by health checks.",
                "s",
                {"{{instance}}": f"registry_snapshot_age_seconds{{{GATEWAYS}}}"},
                alarm=SNAPSHOT_AGE,
            )
        )
        .with_panel(
            graph(
                "How long until a change is put to use?",
                "From the registry's word that instances have changed to a channel that is ready for them.",
                "s",
                quantiles("registry_propagation_seconds", GATEWAYS),
            )
        )
        .with_row(Row("Is it in order?"))
        .with_panel(
            graph(
                "Where is etcd's authentication off?",
                "1: etcd takes anyone's writes although ETCD_USERNAME is set. A wiped etcd is so until its sidecar has "
                "made the users again.",
                "short",
                {"{{instance}}": f"registry_auth_off{{{EVERY_PROCESS}}}"},
            )
        )
        .with_panel(
            states(
                "Do all threads live?",
                "A process that has lost one fails its liveness probe and is restarted.",
                {"{{instance}} {{thread}}": f"thread_alive{{{EVERY_PROCESS}}}"},
                yes="alive",
                no="died",
            )
        )
    )
