"""Rollouts, leases and outages of etcd on the platform of values-production.yaml, as on the one with the defaults."""

import pytest
from test_lease import (  # noqa: F401  # run here on that platform
    test_etcd_away_for_a_minute,
    test_registers_again_at_once,
)
from test_production import platform, production  # noqa: F401
from test_resources import test_requests_cover_what_is_used  # noqa: F401
from test_rollouts import (  # noqa: F401
    test_evictions_one_by_one,
    test_killed_container_loses_no_login,
    test_restart,
)

pytestmark = pytest.mark.faults
