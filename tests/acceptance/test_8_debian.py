"""Other tests of this folder again, on MariaDB and RabbitMQ."""

from __future__ import annotations

import pytest

from tests.acceptance.test_1_plain import (
    pool,  # noqa: F401 - a fixture
    test_all_of_them_in_one_workflow,  # noqa: F401 - and tests
    test_coroutine_beats_its_heart,  # noqa: F401
    test_every_shape_of_workflow_completes,  # noqa: F401
    test_hundred_instances_at_once,  # noqa: F401
)
from tests.acceptance.test_2_kills import (
    test_child_of_killed_worker_is_started_once,  # noqa: F401
    test_kills_at_random,  # noqa: F401
    test_workers_killed_at_each_point,  # noqa: F401
)
from tests.acceptance.test_4_leases import (
    test_attempt_that_takes_too_long_in_place_is_retried,  # noqa: F401
    test_paused_worker_loses_its_lease_in_place,  # noqa: F401
    test_worker_that_lives_keeps_long_activities,  # noqa: F401
)
from tests.acceptance.test_6_races import (
    rivals,  # noqa: F401 - a fixture
    test_signals_timers_and_results_at_once,  # noqa: F401
)

pytestmark = [pytest.mark.debian, pytest.mark.usefixtures("crew")]
