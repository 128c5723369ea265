"""Two that press one button at one moment."""

from __future__ import annotations

from durable import client, workflow
from durable.models import HistoryEvent, InboxEvent, Instance
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import EVERY, Site
from tests.driving import Together


def test_a_form_that_is_sent_twice_at_once_does_it_once(committing, staff):
    @workflow.defn
    async def order() -> None: ...

    InstanceFactory(id="it", name="order", status="failed")
    site = Site(staff(*EVERY))
    form = site.page("it", "do/restart/").form(confirm="1")

    pages = Together().add(lambda: site.post("it/do/restart/", form), times=2).run()

    assert [page.status for page in pages] == [302, 302], pages
    assert len({page.response["Location"] for page in pages}) == 1
    assert Instance.objects.filter(rerun_from="it").count() == 1


def test_two_that_signal_by_one_form_signal_once(committing, staff):
    @workflow.defn
    async def order() -> None:
        await workflow.wait_signal("go")

    order.options(id="it").start()
    site = Site(staff(*EVERY))
    page = site.page("it", "do/signal/", name="go")
    form = page.form(confirm="1")

    Together().add(lambda: site.post("it/do/signal/", form), times=3).run()

    received = HistoryEvent.objects.filter(kind="SignalReceived").count()
    assert received + InboxEvent.objects.filter(kind="SignalReceived").count() == 1
    assert client.status("it")
