"""The addresses, by version of the API."""

from __future__ import annotations

from django.urls import include, path, register_converter

from durable.api import ids, instances, verbs, views

app_name = "durable-api"

register_converter(ids.InstanceId, "durable_id")

_ONE = "instances/<durable_id:instance_id>/"

v1 = [
    path("instances/", instances.Instances.as_view(), name="instances"),
    *(path(f"{_ONE}{verb.name}/", instances.doing(verb).as_view(), name=verb.name) for verb in verbs.VERBS.values()),
    path(f"{_ONE}history/", views.History.as_view(), name="history"),
    path(f"{_ONE}children/", views.Children.as_view(), name="children"),
    path(f"{_ONE}executions/", views.Executions.as_view(), name="executions"),
    path(_ONE, instances.One.as_view(), name="instance"),
    path("versions/", views.Versions.as_view(), name="versions"),
    path("definitions/", views.Definitions.as_view(), name="definitions"),
    path("workers/", views.Workers.as_view(), name="workers"),
    path("audit/", views.Audit.as_view(), name="audit"),
    path("health/", views.Health.as_view(), name="health"),
]

urlpatterns = [path("v1/", include(v1))]
