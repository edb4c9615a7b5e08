"""Platform: what clients receive, and which instances serve it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.builders import (
    EVERY_PROCESS,
    GATEWAYS,
    OBJECTIVES,
    USER_SERVICES,
    dashboard,
    graph,
    quantiles,
    rate,
    states,
)
from monitoring.limits import (
    AVAILABILITY,
    BAD_TOKENS,
    BURNS,
    FAST_SECONDS,
    HASHING_ROUTES,
    HASHING_SECONDS,
    JOBS,
    OPERATION,
    PROMPTNESS,
    REVOCATIONS_AGE,
    SNAPSHOT_AGE,
)
from monitoring.rules.objectives import FAILED, SLOW

_HASHING = f'route=~"{"|".join(HASHING_ROUTES)}"'
_OTHERS = f'route!~"{"|".join(HASHING_ROUTES)}"'
_FASTEST, _SLOWEST = BURNS[0], BURNS[-1]
_SENT = f'token_verifications_total{{{GATEWAYS},result!~"missing|not_bearer"}}'
_BAD = f'token_verifications_total{{{GATEWAYS},result!~"ok|expired|revoked|missing|not_bearer"}}'


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        dashboard(
            "video-platform",
            "Video platform",
            "What clients get, and who is there to give it. Look here first; the other two say why.",
            JOBS,
        )
        .with_row(Row("Are the SLOs met?"))
        .with_panel(
            graph(
                "How fast is the budget for errors spent?",
                "1 is as fast as it lasts for 30 days. The 1-hour line over the red limit wakes somebody up, the "
                "3-day line over the yellow one waits for the morning. Answered by a 5xx is an error; a wrong "
                "password is none.",
                "short",
                _burn(FAILED, AVAILABILITY),
                warn=_SLOWEST.factor,
                alarm=_FASTEST.factor,
            )
        )
        .with_panel(
            graph(
                "How fast is the budget for slowness spent?",
                f"As on the left. Slow is what takes more than {HASHING_SECONDS} s where a password is hashed, and "
                f"more than {FAST_SECONDS} s elsewhere.",
                "short",
                _burn(SLOW, PROMPTNESS),
                warn=_SLOWEST.factor,
                alarm=_FASTEST.factor,
            )
        )
        .with_panel(
            graph(
                "How many requests fail?",
                "Answers of 5xx by route and status. 503 is an overload, a database that is unavailable, or no user "
                "service; 500 is a defect. Clients that hang up first count as 499 and are not here.",
                "percentunit",
                {
                    "{{route}} {{status}}": (
                        f'sum by (route, status) (rate(http_requests_total{{{GATEWAYS},{OPERATION},status=~"5.."}}'
                        "[$__rate_interval]))\n/ on (route) group_left\n"
                        f"{rate('http_requests_total', f'{GATEWAYS},{OPERATION}', 'route')}"
                    )
                },
            )
        )
        .with_row(Row("What do clients do?"))
        .with_panel(
            graph(
                "What is asked for?",
                "Requests by route. `unmatched` is every path that there is not: scanners, or a client with a "
                "typing error.",
                "reqps",
                {"{{route}}": rate("http_requests_total", GATEWAYS, "route")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How is it answered?",
                "Requests by status. 401 is a wrong password or token, 400 a body that breaks the contract, 409 a "
                "name that is taken. `refused` are requests that reach no operation: malformed (400), with a head that "
                "is too slow (408) or too large (431).",
                "reqps",
                {
                    "{{status}}": rate("http_requests_total", GATEWAYS, "status"),
                    "{{status}} refused": rate("http_requests_refused_total", GATEWAYS, "status"),
                },
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How many requests wait for their answer?",
                "By gateway. A number that grows without more traffic means that something behind the gateway is slow.",
                "short",
                {"{{instance}}": f"http_requests_in_flight{{{GATEWAYS}}}"},
            )
        )
        .with_panel(
            graph(
                "How many clients are connected?",
                "By gateway. Beyond MAX_CONNECTIONS, or what the limit of open files allows, new connections are "
                "closed at once; the second line is how many a second.",
                "short",
                {
                    "{{instance}}": f"http_connections{{{GATEWAYS}}}",
                    "{{instance}} refused": rate("http_connections_refused_total", GATEWAYS, "instance"),
                },
            )
        )
        .with_panel(
            graph(
                "How long do logins and registrations take?",
                "A hash takes about a second of a core; the rest is waiting. Values stop at the histogram's last "
                "bucket, 2.5 s.",
                "s",
                quantiles("http_request_duration_seconds", f"{GATEWAYS},{_HASHING}", "route"),
                alarm=HASHING_SECONDS,
            )
        )
        .with_panel(
            graph(
                "How long does everything else take?",
                "What the gateway answers by itself. It is slow when its core is full.",
                "s",
                quantiles("http_request_duration_seconds", f"{GATEWAYS},{_OTHERS}", "route"),
                alarm=FAST_SECONDS,
            )
        )
        .with_panel(
            graph(
                "Which tokens prove nothing?",
                "Their part of all tokens that are sent, by what is wrong with them; those that have merely expired "
                "or were revoked are left out. `bad_signature` after a rollout: a key was changed without keeping the "
                "old one.",
                "percentunit",
                {
                    "{{result}}": (
                        f"sum by (result) (rate({_BAD}[$__rate_interval]))\n/ on () group_left\n"
                        f"sum (rate({_SENT}[$__rate_interval]))"
                    )
                },
                alarm=BAD_TOKENS,
            )
        )
        .with_row(Row("Who uses it?"))
        .with_panel(
            graph(
                "How do logins end?",
                "`denied` is a wrong password or an unknown name. Many of those and few of the others: somebody "
                "tries passwords.",
                "ops",
                {"{{result}}": rate("logins_total", USER_SERVICES, "result")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How do registrations end?",
                "`duplicate` is a name that is taken.",
                "ops",
                {"{{result}}": rate("registrations_total", USER_SERVICES, "result")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How do refreshes of sessions end?",
                "`rotated` and `repeated` are normal, `recovered` follows on an answer that was lost on the way. "
                "`reused` is a refresh token that two parties had: its session ended.",
                "ops",
                {"{{result}}": rate("session_refreshes_total", USER_SERVICES, "result")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How many sessions open and end?",
                "Those that end before they expire by reason: `logout`, `logout_all`, `reused`, or `limit`, the 51st "
                "of a user.",
                "ops",
                {
                    "opened": f"sum (rate(sessions_opened_total{{{USER_SERVICES}}}[$__rate_interval]))",
                    "{{reason}}": rate("sessions_ended_total", USER_SERVICES, "reason"),
                },
            )
        )
        .with_panel(
            graph(
                "Which versions run?",
                "Instances by service and version. Two versions of one service are a rollout, or one that is stuck.",
                "short",
                {"{{job}} {{version}}": (f"count by (job, version) (build_info{{{EVERY_PROCESS}}})")},
            )
        )
        .with_row(Row("How do sessions do?"))
        .with_panel(
            graph(
                "With what do clients prove who they are?",
                "Accepted tokens by kind. `legacy` are those of the Go system and of older gateways, without a "
                "generation: when there are none left, none need be accepted.",
                "ops",
                {"{{kind}}": rate("tokens_accepted_total", GATEWAYS, "kind")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Which refresh tokens are none of ours?",
                "By what is wrong with them, as far as the gateway can tell by itself. `bad_mac`: somebody tries "
                "forged ones. `unknown_key`: a key was removed too early, or long ago.",
                "ops",
                {"{{result}}": rate("refresh_tokens_checked_total", GATEWAYS, "result")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "How old is what each gateway knows of logouts?",
                "What was revoked is read every second. Older: the database or the user services are unavailable, "
                "and tokens that were logged out since are accepted until they expire.",
                "s",
                {"{{instance}}": f"revocations_age_seconds{{{GATEWAYS}}}"},
                alarm=REVOCATIONS_AGE,
            )
        )
        .with_panel(
            graph(
                "How many keys are in use?",
                "Secrets whose tokens are accepted, by gateway: two during a rotation. The other lines are changes of "
                "the files a second, and readings that could not be used.",
                "short",
                {
                    "{{instance}}": f"signing_keys{{{GATEWAYS}}}",
                    "{{instance}} {{result}}": rate("key_reloads_total", GATEWAYS, "instance, result"),
                },
            )
        )
        .with_row(Row("Does anybody guess passwords?"))
        .with_panel(
            graph(
                "Which requests are too many for their address?",
                "Failures and registrations beyond what one address may do, by route: refused with 429, or merely "
                "counted while THROTTLE_MODE is observe. None without TRUSTED_PROXIES.",
                "ops",
                {"{{route}}": rate("client_throttled_total", GATEWAYS, "route")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Which passwords come too soon after wrong ones?",
                "By what those are counted by: the name, or a device of its owner. Refused with 429 in mode enforce; "
                "owners whose clients send a device token are not concerned by guesses from elsewhere.",
                "ops",
                {"{{bucket}} {{mode}}": rate("login_throttle_total", USER_SERVICES, "bucket, mode")},
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Who changes a password or leaves?",
                "Changes of passwords by result, and deletions of accounts. `denied`: the current password was wrong, "
                "as when somebody uses a stolen token.",
                "ops",
                {
                    "{{result}}": rate("password_changes_total", USER_SERVICES, "result"),
                    "deleted": f"sum (rate(accounts_deleted_total{{{USER_SERVICES}}}[$__rate_interval]))",
                },
            )
        )
        .with_row(Row("Who is there?"))
        .with_panel(
            states(
                "Which user services are ready?",
                "Ready is: registered under a lease, and the database answers. Without a lease an instance still "
                "serves those gateways that know it.",
                {
                    "{{instance}} ready": f'serving_status{{{USER_SERVICES},service="readiness"}}',
                    "{{instance}} serves": f'serving_status{{{USER_SERVICES},service="user.v1.UserService"}}',
                    "{{instance}} lease": f"registry_lease_held{{{USER_SERVICES}}}",
                },
                yes="yes",
                no="no",
            )
        )
        .with_panel(
            graph(
                "How many user services does each gateway know?",
                "All gateways should know as many as there are. More: instances that vanished less than 15 s ago, "
                "or all of them did. Fewer: a gateway that has lost the registry.",
                "short",
                {
                    "{{instance}}": f"registry_endpoints{{{GATEWAYS}}}",
                    "leases held": f"sum (registry_lease_held{{{USER_SERVICES}}})",
                },
            )
        )
        .with_panel(
            graph(
                "How old is what each gateway knows?",
                "The registry is read every 5 s. Older: etcd is unavailable, or this gateway cannot reach it. "
                "It goes on with what it knows.",
                "s",
                {"{{instance}}": f"registry_snapshot_age_seconds{{{GATEWAYS}}}"},
                alarm=SNAPSHOT_AGE,
            )
        )
    )


def _burn(metric: str, goal: float) -> dict[str, str]:
    return {
        f"{{{{route}}}} {burn.long}": f"{metric}:ratio_rate{burn.long}{{{OBJECTIVES}}} / {1 - goal:.6g}"
        for burn in (_FASTEST, _SLOWEST)
    }
