"""Model instances pass through JSON by reference."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, QuerySet
from django.utils.connection import ConnectionDoesNotExist

from durable.converters import DjangoConverter, ModelRef
from durable.core.errors import InvalidInput
from durable.core.payloads import dumps, loads
from durable.core.signatures import Signature

STORING = DjangoConverter()
LOADING = DjangoConverter(load=True)


@dataclass
class Invitation:
    group: Group
    guests: list[User]
    host: User | None = None


@pytest.fixture
def user(db):
    return User.objects.create(username="ada")


@pytest.fixture
def group(db):
    return Group.objects.create(name="staff")


def test_instance_is_stored_as_a_reference(user):
    assert STORING.encode(user, "user") == {"$model": "auth.User", "pk": user.pk}


def test_unsaved_instance_is_refused():
    for unsaved in (User(), User(pk=5)):
        with pytest.raises(InvalidInput, match=r"^invite\(user\)\[0\]: this auth.User is not saved"):
            STORING.encode([unsaved], "invite(user)")


def test_workflow_gets_a_reference_without_a_query(user, django_assert_num_queries):
    data = STORING.encode(user, "user")

    with django_assert_num_queries(0):
        ref = STORING.decode(data, User, "user")

    assert ref == ModelRef("auth.User", user.pk)
    assert STORING.encode(ref, "user") == data


def test_activity_gets_the_instance(user, django_assert_num_queries):
    data = STORING.encode(user, "user")

    with django_assert_num_queries(1):
        assert LOADING.decode(data, User, "user") == user


def test_reference_can_be_annotated_and_is_never_loaded(user):
    data = STORING.encode(user, "user")

    assert LOADING.decode(data, ModelRef, "user") == ModelRef("auth.User", user.pk)


def test_instances_come_back_wherever_they_occur(user, group):
    invitation = Invitation(group, [user], user)
    data = loads(dumps(STORING.encode({"a": invitation}, "x"), "x", 1000))

    refs = STORING.decode(data, dict[str, Invitation], "x")

    assert refs["a"].guests == [ModelRef("auth.User", user.pk)]
    assert STORING.encode(refs, "x") == data
    assert LOADING.decode(data, dict[str, Invitation], "x") == {"a": invitation}


def test_reference_passes_from_workflow_to_activity(user):
    def greet(who: User, *, group: Group | None = None) -> str: ...  # type: ignore[empty-body]

    signature = Signature.of(greet, "greet")

    data = signature.bind((ModelRef("auth.User", user.pk),), {"group": None}, STORING)

    assert signature.unbind(data, LOADING) == ((user,), {"group": None})


def test_instance_that_is_gone_is_named(user):
    data = STORING.encode([user], "x")
    pk = user.pk
    user.delete()

    with pytest.raises(InvalidInput) as caught:
        LOADING.decode(data, list[User], "greet(users)")

    assert caught.value.where == "greet(users)[0]"
    assert f"no auth.User with the primary key {pk}" in caught.value.problem


def test_hidden_rows_are_loaded_through_the_base_manager(user, monkeypatch):
    monkeypatch.setattr(User._meta, "default_manager", None)

    assert LOADING.decode(STORING.encode(user, "x"), User, "x") == user


def test_database_to_load_from_can_be_named(user):
    data = STORING.encode(user, "x")

    assert DjangoConverter(load=True, using="default").decode(data, User, "x") == user
    with pytest.raises(ConnectionDoesNotExist):
        DjangoConverter(load=True, using="nowhere").decode(data, User, "x")


@pytest.mark.parametrize("converter", [STORING, LOADING])
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (5, "expected a reference"),
        ({"$model": "auth.User"}, "expected a reference"),
        ({"$model": "auth.Group", "pk": 1}, "expected a reference to a auth.User, got one to a auth.Group"),
        ({"$model": "auth.Nothing", "pk": 1}, "there is no model 'auth.Nothing'"),
        ({"$model": "nothing", "pk": 1}, "there is no model 'nothing'"),
        ({"$model": 5, "pk": 1}, "expected a reference"),
    ],
)
def test_data_that_is_no_reference_to_the_model_is_refused(converter, data, problem):
    with pytest.raises(InvalidInput) as caught:
        converter.decode(data, User, "greet(user)")

    assert caught.value.where == "greet(user)"
    assert problem in caught.value.problem


def test_primary_key_of_the_wrong_type_is_refused(db):
    with pytest.raises(InvalidInput, match="greet"):
        LOADING.decode({"$model": "auth.User", "pk": "no number"}, User, "greet(user)")


def test_any_model_can_be_annotated(user, group):
    data = STORING.encode([user, group], "x")

    assert LOADING.decode(data, list[Model], "x") == [user, group]


def test_one_of_several_models_comes_back(user, group):
    data = STORING.encode([user, group, None, 5], "x")

    assert LOADING.decode(data, list[Permission | User | Group | int | None], "x") == [user, group, None, 5]


@pytest.mark.parametrize("value", [User, User.objects, object()])
def test_what_is_no_instance_is_refused(value):
    with pytest.raises(InvalidInput):
        STORING.encode(value, "x")


def test_queryset_is_refused_and_named(db):
    with pytest.raises(InvalidInput, match="QuerySet"):
        STORING.encode(User.objects.all(), "x")
    with pytest.raises(InvalidInput, match="QuerySet"):
        STORING.decode([1], QuerySet[User], "x")


def test_import_needs_no_settings():
    code: Any = "import durable.converters, django.conf; print(django.conf.settings.configured)"

    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True, text=True
    )

    assert run.stdout == "False\n"
