"""What the demo project's tests share."""

from __future__ import annotations

import pytest

import project.audit.activities
import project.audit.workflows
import project.demo.activities
import project.demo.workflows
import project.shop.activities
import project.shop.workflows
from durable import registry
from durable.core.definitions import ActivityDefinition, WorkflowDefinition

MODULES = (
    project.audit.activities,
    project.audit.workflows,
    project.demo.activities,
    project.demo.workflows,
    project.shop.activities,
    project.shop.workflows,
)


@pytest.fixture
def engine(engine):
    """All workers, who know the demo's workflows and activities: the other tests do without them."""
    for definition in (value for module in MODULES for value in vars(module).values()):
        match definition:
            case WorkflowDefinition():
                registry.add_workflow(definition)
            case ActivityDefinition():
                registry.add_activity(definition)
    return engine


@pytest.fixture(autouse=True)
def strict(settings):
    """Have the demo's workflows caught at whatever is not deterministic."""
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}
