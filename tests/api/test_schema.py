"""The schema: valid, complete, and shown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.urls import include, reverse
from django.urls import path as at
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.validation import validate_schema
from rest_framework import serializers
from rest_framework.generics import RetrieveAPIView

from durable.api import bodies, many, urls, verbs
from durable.models import Status

BODIES = {*(verb.body for verb in verbs.VERBS.values()), bodies.Start, many.NewBatch, many.Retry, many.Recovery}


@pytest.fixture(scope="module")
def schema() -> Any:
    GENERATOR_STATS.reset()
    found = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS, "the generator warns of something"
    return found


def test_schema_is_valid(schema):
    validate_schema(schema)


def test_every_address_is_described(schema):
    assert len(schema["paths"]) == len(urls.v1)
    assert set(verbs.VERBS) <= {path.rstrip("/").rpartition("/")[2] for path in schema["paths"]}


def test_every_operation_says_what_it_does_and_how_it_fails(schema):
    operations = [each for path in schema["paths"].values() for each in path.values()]

    for operation in operations:
        assert operation["description"], operation["operationId"]
        assert operation["responses"]["default"]["content"]["application/problem+json"]
        assert operation["tags"] == ["durable"]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_names_are_no_other_apps(schema):
    operations = [each for path in schema["paths"].values() for each in path.values()]

    assert all(re.fullmatch("durable_[a-z_]+", operation["operationId"]) for operation in operations)
    assert not [name for name in schema["components"]["schemas"] if "Durable" not in name]


class Bill(serializers.Serializer):
    """Something of a project, with choices of its own."""

    status = serializers.ChoiceField([("paid", "paid"), ("open", "open")])


class Bills(RetrieveAPIView):
    serializer_class = Bill
    schema = AutoSchema()


def test_choices_of_a_project_keep_their_names():
    GENERATOR_STATS.reset()
    generator = SchemaGenerator(patterns=[at("bill/", Bills.as_view()), at("api/", include("durable.api.urls"))])

    components = generator.get_schema(request=None, public=True)["components"]["schemas"]

    assert not GENERATOR_STATS, "the generator warns of something"
    assert components["StatusEnum"]["enum"] == ["paid", "open"]
    assert components["DurableStatusEnum"]["enum"] == Status.values
    assert components["DurableInstanceDetail"]["properties"]["status"]["$ref"].endswith("/DurableStatusEnum")


def test_every_parameter_and_filter_is_described(schema):
    operations = {path: each for path, found in schema["paths"].items() for each in found.values()}

    assert not [
        (path, each["name"])
        for path, operation in operations.items()
        for each in operation.get("parameters", [])
        if not each.get("description")
    ]


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [
        ("instances/", "201", {"Location", "ETag"}),
        ("instances/{instance_id}/rerun/", "201", {"Location", "ETag"}),
        ("instances/{instance_id}/rerun/", "200", set()),
        ("instances/{instance_id}/rewind/", "200", {"ETag"}),
        ("batches/", "201", {"Location"}),
    ],
)
def test_headers_of_answers_are_described(schema, path, status, headers):
    assert schema["paths"][f"/api/v1/{path}"]["post"]["responses"][status].get("headers", {}).keys() == headers


def test_every_post_takes_an_idempotency_key(schema):
    for path, operations in schema["paths"].items():
        if "post" in operations:
            assert "Idempotency-Key" in [each["name"] for each in operations["post"]["parameters"]], path


def body_of(operation: dict[str, Any]) -> dict[str, Any]:
    return operation["requestBody"]["content"]["application/json"]


@pytest.mark.parametrize("kind", sorted(BODIES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_examples_can_be_sent(kind, db):
    (example,) = kind._spectacular_annotation["examples"]

    kind(data=example.value).is_valid(raise_exception=True)


def test_every_request_has_an_example(schema):
    for path, operations in schema["paths"].items():
        if "post" in operations:
            assert body_of(operations["post"])["examples"], path


def test_the_demo_shows_it(client, db):
    assert client.get(reverse("schema")).status_code == 200
    page = client.get(reverse("api-docs"))

    assert b"swagger-ui" in page.content
    assert b"https://" not in page.content.replace(b"https://testserver", b""), "it loads code from elsewhere"
