"""The schema tells the truth: whatever it allows, or does not, is answered as it says, and never by a crash."""

from __future__ import annotations

import base64
import itertools
import json
import os
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from durable import client, registry
from durable.api import streaming
from durable.client.patience import Patience
from durable.models import Execution, HistoryEvent, Instance
from project.demo import release2, seeding
from tests import driving
from tests.api.conftest import EVERY

EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "4"))
"""How many requests of each kind are sent to each address, by each user; more if the environment says so."""

NAMES = [
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
]
USERS = {"everything": EVERY, "reading": ("view_instance",)}


@cache
def described() -> dict[str, Any]:
    """Return the schema, without what says how to authenticate: that is the project's."""
    found: dict[str, Any] = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True)))
    found.get("components", {}).pop("securitySchemes", None)
    for operations in found["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return found


@cache
def operations() -> dict[str, Any]:
    schema = schemathesis.openapi.from_dict(described())
    schema.app = get_wsgi_application()
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


@pytest.fixture
def seeded(engine, monkeypatch, settings):
    """Instances of every status, a batch, and time that passes as soon as somebody waits."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.ALLOWED_HOSTS = ["*"]
    driving.register_all(release2)
    seeding.seed(20)
    clock = itertools.count(step=100.0)
    monkeypatch.setattr(streaming, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    monkeypatch.setattr(Patience, "pause", lambda self: None)
    # As Django's own test client has it: the connection is in the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield engine
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def known() -> dict[str, list[Any]]:
    """Return values that lead somewhere, by the names of parameters and fields."""
    ids = [
        Instance.objects.filter(status=status).values_list("pk", flat=True).first()
        for status in sorted(set(Instance.objects.values_list("status", flat=True)))
    ]
    executions = [str(pk) for pk in Execution.objects.values_list("pk", flat=True)[:3]]
    return {
        "instance_id": ids,
        "batch_id": [*ids[:1], "batch"],
        "with": ids,
        "execution": executions,
        "ids": [ids],
        "workflow": [each.type_name for each in registry.workflows()],
        "event_id": sorted(set(HistoryEvent.objects.exclude(event_id=None).values_list("event_id", flat=True)))[:5],
        "after": [0, 2],
        "limit": [1, 2],
    }


def cases(operation: Any, values: dict[str, list[Any]]) -> Any:
    """Return requests, half of them such as the schema allows, and most about something that there is."""

    @st.composite
    def made(draw: Any) -> Any:
        mode = draw(st.sampled_from(list(GenerationMode)))
        path = {
            name: draw(st.sampled_from(values[name]))
            for name in ("instance_id", "batch_id")
            if f"{{{name}}}" in operation.path and draw(st.integers(0, 4))
        }
        case = draw(operation.as_strategy(mode, **({"path_parameters": path} if path else {})))
        if mode.is_positive and isinstance(case.body, dict):
            fitting = {
                name: draw(st.sampled_from(values[name]))
                for name in case.body.keys() & values.keys()
                if draw(st.booleans())
            }
            case.body = {**case.body, **fitting}
        return case

    return made()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", USERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_answers_are_those_of_the_schema(seeded, who, method):
    user = get_user_model().objects.create_user(who, password="secret")
    user.user_permissions.set(Permission.objects.filter(codename__in=USERS[who]))
    root = get_user_model().objects.create_superuser("root")
    client.batch("cancel", list(Instance.objects.values_list("pk", flat=True)[:3]), id="batch", actor=root)
    seeded.run_until_quiet()
    credentials = base64.b64encode(f"{who}:secret".encode()).decode()
    load_all_checks()
    checks, values, wrong = CHECKS.get_by_names(NAMES), known(), []

    for label, operation in operations().items():
        if operation.method.upper() != method:
            continue

        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases(operation, values))
        def send(case: Any) -> None:
            with transaction.atomic():
                response = case.call(headers={"Authorization": f"Basic {credentials}"})
                transaction.set_rollback(True)
            # Who asks for some fields gets no others, which OpenAPI has no words for.
            sparse = ["response_schema_conformance"] if "fields" in (case.query or {}) else []
            excluded = CHECKS.get_by_names(sparse) if response.status_code == 200 else []
            case.validate_response(response, checks=checks, excluded_checks=excluded)

        try:
            send()
        except (Exception, BaseExceptionGroup) as error:
            wrong.append(f"--- {label}\n{_told(error)}")

    assert not wrong, "\n".join(wrong)


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(map(_told, error.exceptions))
    return f"{type(error).__name__}: {error}"[:2000]
