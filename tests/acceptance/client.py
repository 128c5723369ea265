"""A client in a process of its own, so that it can be killed: starts or rewinds an instance; a fault may strike."""

from __future__ import annotations

import json
import sys

import django

django.setup()

from durable import client  # noqa: E402
from tests.acceptance import faults  # noqa: E402

if __name__ == "__main__":
    faults.install()
    workflow, instance_id, arguments = sys.argv[1:]
    if workflow == "rewind":
        client.rewind(instance_id, *json.loads(arguments))
    else:
        client.start(workflow, json.loads(arguments), id=instance_id)
