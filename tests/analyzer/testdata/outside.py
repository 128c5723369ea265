"""The world outside: environment, settings, database, cache, files, network, threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import pathlib
import socket
import subprocess
import threading
import urllib.request
from os import environ, getenv
from pathlib import Path
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import cache, caches
from django.core.mail import send_mail
from django.db import connection, transaction
from django.db.models import Q
from django.shortcuts import get_object_or_404

from durable import activity, client, workflow
from project.shop.models import Order

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
NAMES = {"open": open}


@activity.defn
def anything_goes(number: int) -> int:
    os.environ["HOME"]
    Order.objects.get(pk=number).save()
    subprocess.run(["true"])
    return open("/dev/null").fileno()


@workflow.defn
async def looks_around() -> None:
    os.environ["HOME"]  # want: DUR004 os.environ may differ
    environ.get("HOME")  # want: DUR004 os.environ
    getenv("HOME")  # want: DUR004 os.getenv
    os.getpid()  # want: DUR004 os.getpid
    client.signal("order-1", "go")  # want: DUR006 durable.client.signal uses the database
    client.get("order-1").cancel()  # want: DUR006 durable.client.get uses
    settings.DEBUG  # want: DUR005 django.conf.settings may change with a deploy
    if settings.TIME_ZONE == "UTC":  # want: DUR005 django.conf.settings
        pass


@workflow.defn
async def uses_the_database(number: int) -> None:
    Order.objects.filter(pk=number).exclude(pk=2).first()  # want: DUR006 Order.objects uses the database
    await Order.objects.aget(pk=number)  # want: DUR006 Order.objects
    order = Order(number=number)
    order.save()  # want: DUR006 order.save uses the database
    await order.adelete()  # want: DUR006 order.adelete
    with transaction.atomic():  # want: DUR006 django.db.transaction.atomic
        pass
    with connection.cursor():  # want: DUR006 django.db.connection
        pass
    get_user_model().objects.count()  # want: DUR006 get_user_model().objects
    get_object_or_404(Order, pk=1)  # want: DUR006 django.shortcuts.get_object_or_404
    cache.get("key")  # want: DUR007 django.core.cache.cache is shared
    caches["default"]  # want: DUR007 django.core.cache.caches


@workflow.defn
async def touches_files(name: str) -> None:
    open(name)  # want: DUR008 open() reaches for the file system
    with open(name) as file:  # want: DUR008 open()
        file.read()
    Path(name).read_text()  # want: DUR008 Path(name).read_text()
    (HERE / "data" / name).exists()  # want: DUR008 exists()
    pathlib.Path.cwd()  # want: DUR008 pathlib.Path.cwd()
    os.path.exists(name)  # want: DUR008 os.path.exists()
    os.listdir(".")  # want: DUR008 os.listdir()


@workflow.defn
async def talks(name: str) -> None:
    urllib.request.urlopen(name)  # want: DUR009 urllib.request.urlopen() talks to another system
    socket.create_connection(("localhost", 1))  # want: DUR009 socket.create_connection()
    socket.gethostname()  # want: DUR009 socket.gethostname()
    send_mail("", "", "", [])  # want: DUR009 django.core.mail.send_mail()
    await asyncio.open_connection("localhost", 1)  # want: DUR009 asyncio
    import boto3
    import httpx
    import requests
    from requests import post

    requests.get(name)  # want: DUR009 .get() talks
    post(name)  # want: DUR009 .post() talks
    boto3.client("s3").list_buckets()  # want: DUR009 boto3.client(
    async with httpx.AsyncClient() as client:  # want: DUR009 httpx.AsyncClient()
        await client.get(name)
    from project.celery import app  # noqa: F401

    from .tasks import send  # no such module: nobody runs this

    send.delay(name)  # want: DUR009 publishes a Celery task


@workflow.defn
async def starts_threads(name: str) -> None:
    threading.Thread(target=print).start()  # want: DUR010 threading.Thread; DUR020 print
    threading.Lock()  # want: DUR010 threading.Lock()
    concurrent.futures.ThreadPoolExecutor()  # want: DUR010 ThreadPoolExecutor
    subprocess.run([name])  # want: DUR010 subprocess.run()
    os.system(name)  # want: DUR010 os.system()
    await asyncio.create_subprocess_exec(name)  # want: DUR010 asyncio
    await asyncio.to_thread(len, name)  # want: DUR011 to_thread() leaves the workflow's event loop
    asyncio.run(asyncio.sleep(1))  # want: DUR011 run()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, len, name)  # want: DUR011 run_in_executor()
    await sync_to_async(len)(name)  # want: DUR011 asgiref.sync.


@workflow.defn
async def logs(name: str) -> None:
    print(name)  # want: DUR020 print() says it again on every replay
    log.info(name)  # want: DUR020 log.info()
    logging.warning(name)  # want: DUR020 logging.warning()
    logging.getLogger("x").error(name)  # want: DUR020 error()


@workflow.defn
async def stays_inside(name: str, path: str, open: int) -> None:
    workflow.logger.info(name)
    await anything_goes(1)
    Q(pk=1)
    quote(name)
    HERE.name
    Path(path).suffix
    pathlib.PurePosixPath(path).parent
    os.path.join(path, name)
    os.sep
    Order.Status.PAID
    Order.Status(name)
    workflow.side_effect(lambda: os.environ["HOME"])
    workflow.side_effect(lambda: settings.DEBUG)
    open + 1
    asyncio.Lock()
    try:
        await anything_goes(2)
    except (subprocess.CalledProcessError, socket.timeout, Order.DoesNotExist) as error:
        raise RuntimeError(name) from error
    cache = {"key": 1}
    cache.get("key")

    class Settings:
        DEBUG = True

    settings = Settings()
    settings.DEBUG
