"""User service: where a login spends its time."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.builders import USER_SERVICES, dashboard, graph, quantiles, rate, states
from monitoring.limits import POOL_IN_USE, REFUSED_HASHES, USERS, pool_in_use


def build() -> Dashboard:
    """Return the dashboard."""
    refused = rate("password_hash_rejected_total", USER_SERVICES, "instance")
    hashed = rate("password_hash_seconds_count", USER_SERVICES, "instance")
    return (
        dashboard(
            "video-platform-user-service",
            "Video platform: user service",
            "What a login or a registration waits for: a core to hash on, a connection, the database.",
            USERS,
        )
        .with_row(Row("What do gateways get?"))
        .with_panel(
            graph(
                "How do calls end?",
                "By method and gRPC code. A wrong password is OK here. RESOURCE_EXHAUSTED is a full hash queue or "
                "throttled logins, UNAVAILABLE the database, DEADLINE_EXCEEDED or CANCELLED a client that cancelled "
                "the call.",
                "ops",
                {
                    "{{grpc_method}} {{grpc_code}}": rate(
                        "grpc_server_handled_total", USER_SERVICES, "grpc_method, grpc_code"
                    )
                },
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How long do calls take?",
                "From a call's arrival to its answer, the wait for a core included. Values stop at the last bucket, "
                "2.5 s.",
                "s",
                quantiles("grpc_server_handling_seconds", USER_SERVICES, "grpc_method"),
            )
        )
        .with_panel(
            states(
                "Who serves?",
                "Gateways call instances that serve. Not serving: the database is unavailable, or the instance drains.",
                {"{{instance}}": f'serving_status{{{USER_SERVICES},service="user.v1.UserService"}}'},
                yes="serving",
                no="not serving",
            )
        )
        .with_panel(
            states(
                "Is the database read-only?",
                "Registrations are refused meanwhile, and logins go on.",
                {"{{instance}}": f"database_read_only{{{USER_SERVICES}}}"},
                yes="read-only",
                no="writable",
            )
        )
        .with_row(Row("Are there cores enough?"))
        .with_panel(
            graph(
                "How many calls wait for a core?",
                "The queue holds what can be hashed within 5 s; a few calls in it are no harm.",
                "short",
                {"{{instance}}": f"password_hash_queue_depth{{{USER_SERVICES}}}"},
            )
        )
        .with_panel(
            graph(
                "Which part of the passwords is refused?",
                "Those that could not be hashed before their callers' deadline, as a part of all. Their clients got "
                "503 with Retry-After at once.",
                "percentunit",
                {"{{instance}}": f"{refused}\n/\n(\n{refused}\n+\n{hashed}\n)"},
                alarm=REFUSED_HASHES,
            )
        )
        .with_panel(
            graph(
                "How long does a hash take?",
                "On its core, without waiting: about a second at cost 14, and twice that with each step. Longer "
                "than usual: the cores are shared or throttled.",
                "s",
                quantiles("password_hash_seconds", USER_SERVICES, "instance"),
            )
        )
        .with_panel(
            graph(
                "How many passwords are hashed?",
                "By instance. At most its cores divided by the seconds that a hash takes.",
                "ops",
                {"{{instance}}": hashed},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How many cores are used?",
                "Hashing is nearly all of it: an instance that hashes without a pause uses all its cores.",
                "short",
                {"{{instance}}": rate("process_cpu_seconds_total", USER_SERVICES, "instance")},
            )
        )
        .with_panel(
            graph(
                "How much memory is used?",
                "Resident. It should stay flat under a flood of logins; 256 MiB is the chart's limit.",
                "bytes",
                {"{{instance}}": f"process_resident_memory_bytes{{{USER_SERVICES}}}"},
            )
        )
        .with_row(Row("What becomes of accounts?"))
        .with_panel(
            graph(
                "How do logins end?",
                "`denied` is a wrong password, no such name, or a disabled user. What was throttled is not among them.",
                "ops",
                {"{{result}}": rate("logins_total", USER_SERVICES, "result")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Who guesses passwords?",
                "Tries that came too soon after wrong passwords, by what those are counted by. In mode enforce they "
                "were refused, and their clients got 429.",
                "ops",
                {"{{bucket}} ({{mode}})": rate("login_throttle_total", USER_SERVICES, "bucket, mode")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How many passwords change, and accounts go?",
                "By their users: `denied` is a wrong current password, `invalid` a new one that breaks a rule.",
                "ops",
                {
                    "password {{result}}": rate("password_changes_total", USER_SERVICES, "result"),
                    "deleted": f"sum (rate(accounts_deleted_total{{{USER_SERVICES}}}[$__rate_interval]))",
                },
            )
        )
        .with_row(Row("Is the database fast enough?"))
        .with_panel(
            graph(
                "How long does a statement take?",
                "On its connection, without the wait for one.",
                "s",
                quantiles("db_query_duration_seconds", USER_SERVICES),
            )
        )
        .with_panel(
            graph(
                "How many statements are there?",
                "By instance; a login takes three, a registration two.",
                "ops",
                {"{{instance}}": rate("db_query_duration_seconds_count", USER_SERVICES, "instance")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How many connections are in use?",
                "Of those that there may be, 100 by default. None is held while a password is hashed, so many in use "
                "mean slow statements.",
                "percentunit",
                {"{{instance}}": pool_in_use(USER_SERVICES)},
                alarm=POOL_IN_USE,
            )
        )
    )
