"""Every page: as people see it in the light and in the dark, on a desk and in a hand, and as machines judge it."""

from __future__ import annotations

import pytest

from durable import client
from tests.browser.conftest import INVOICES

pytestmark = pytest.mark.timeout(600)
LOOKS = {
    "light": {"height": 1000},
    "dark": {"scheme": "dark"},
    "narrow": {"width": 390, "height": 844},
    "narrow-dark": {"width": 390, "height": 844, "scheme": "dark"},
}
CHECKED = ("light", "narrow-dark")
"""In these, all colours and all layouts are."""
PICTURED = ("instances", "rewound")
"""The documentation shows these, in the light: no machine's paths are on them."""


@pytest.fixture
def pages(crew, shop, invoices, refunds, operator):
    """Return the address of every page, by what it shows."""
    rewound = f"invoice-{INVOICES[0]}"
    crew.do(lambda: client.rewind(rewound, reason="the bank is back", actor=operator))
    crew.work()
    rerun = {"input": client.Args(INVOICES[0], "71.10"), "siblings": "keep", "reason": "typing error"}
    crew.do(lambda: client.rerun_from_activity(rewound, 1, new_instance_id="corrected", actor=operator, **rerun))
    batch = crew.do(
        lambda: client.batch("rewind", [f"invoice-{n}" for n in INVOICES[:9]], reason="the bank is back", actor="ada")
    )
    crew.work()
    failed = f"durable/instance/invoice-{INVOICES[-1]}"
    return {
        "index": "",
        "instances": "durable/instance/",
        "filtered": "durable/instance/?q=invoice&status=failed",
        "nothing-found": "durable/instance/?q=nothing-like-it",
        "failed": f"{failed}/change/",
        "events": f"{failed}/change/?history=full",
        "waiting": "durable/instance/refund-2/change/",
        "shipped": "durable/instance/order-1/change/",
        "suspended": "durable/instance/report-2025-03-03/change/",
        "rewound": f"durable/instance/{rewound}/change/",
        "explain": f"{failed}/explain/",
        "explain-waiting": "durable/instance/refund-2/explain/",
        "compare": f"durable/instance/{rewound}/compare/?with=corrected",
        "rewind": f"{failed}/do/rewind/",
        "rerun": f"{failed}/do/rerun/?event_id=1",
        "restart": f"{failed}/do/restart/",
        "purge": f"{failed}/do/purge/",
        "signal": "durable/instance/refund-1/do/signal/?name=approve",
        "upgrade": "durable/instance/refund-1/do/upgrade/",
        "upgrade-refused": "durable/instance/refund-2/do/upgrade/",
        "definitions": "durable/instance/definitions/",
        "start": "durable/instance/definitions/refund2/start/",
        "update": "durable/instance/refund-1/do/update/",
        "batches": "durable/instance/batches/",
        "report": f"durable/instance/{batch.id}/report/",
        "failures": "durable/instance/failures/",
        "versions": "durable/instance/versions/",
        "workers": "durable/instance/workers/",
        "audit": "durable/operation/",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_can_be_used_by_everybody(arrive, operator, pages, look):
    visit = arrive(**LOOKS[look]).sign_in(operator)
    faults = []

    for name, address in pages.items():
        visit.go(address)
        visit.shoot(f"{look}-{name}")
        if look == "light" and name in PICTURED:
            visit.publish(name)
        if look in CHECKED:
            faults += [f"{name}: {barrier}" for barrier in visit.barriers()]
        if wider := max(0, visit.overflow()):
            faults.append(f"{name}: {wider} pixels wider than the window")

    assert not faults, "\n".join(faults)
