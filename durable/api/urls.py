"""The addresses, by version of the API."""

from __future__ import annotations

from django.urls import include, path, register_converter

from durable.api import activities, histories, ids, insight, instances, many, streaming, verbs, views

app_name = "durable-api"

register_converter(ids.InstanceId, "durable_id")

_ONE = "instances/<durable_id:instance_id>/"

v1 = [
    path("instances/", instances.Instances.as_view(), name="instances"),
    *(path(f"{_ONE}{verb.name}/", instances.doing(verb).as_view(), name=verb.name) for verb in verbs.VERBS.values()),
    path(f"{_ONE}history/", histories.History.as_view(), name="history"),
    path(f"{_ONE}timeline/", histories.Timeline.as_view(), name="timeline"),
    path(f"{_ONE}events/", streaming.Events.as_view(), name="events"),
    path(f"{_ONE}work/", histories.Work.as_view(), name="work"),
    path(f"{_ONE}children/", histories.Children.as_view(), name="children"),
    path(f"{_ONE}executions/", histories.Executions.as_view(), name="executions"),
    path(f"{_ONE}explain/", insight.Explain.as_view(), name="explain"),
    path(f"{_ONE}why/", insight.Why.as_view(), name="why"),
    path(f"{_ONE}lineage/", insight.Family.as_view(), name="lineage"),
    path(f"{_ONE}compare/", insight.Compare.as_view(), name="compare"),
    path(_ONE, instances.One.as_view(), name="instance"),
    path("activities/complete/", activities.Complete.as_view(), name="complete-activity"),
    path("activities/fail/", activities.Fail.as_view(), name="fail-activity"),
    path("batches/", many.Batches.as_view(), name="batches"),
    path("batches/<durable_id:batch_id>/retry/", many.BatchRetry.as_view(), name="batch-retry"),
    path("batches/<durable_id:batch_id>/", many.Batch.as_view(), name="batch"),
    path("failure-groups/", many.FailureGroups.as_view(), name="failure-groups"),
    path("recover/", many.Recover.as_view(), name="recover"),
    path("versions/", views.Versions.as_view(), name="versions"),
    path("definitions/", views.Definitions.as_view(), name="definitions"),
    path("workers/", views.Workers.as_view(), name="workers"),
    path("audit/", views.Audit.as_view(), name="audit"),
    path("health/", views.Health.as_view(), name="health"),
]

urlpatterns = [path("v1/", include(v1))]
