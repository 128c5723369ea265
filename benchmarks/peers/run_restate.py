"""Restate: one node and one process with the services; the client speaks HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.peers import sizes

_OPEN = "SELECT count(*) AS n FROM sys_invocation WHERE status <> 'completed'"


class Node:
    """A client of the node."""

    def __init__(self, client: httpx.AsyncClient, ingress: str, admin: str) -> None:
        self._client, self._ingress, self._admin = client, ingress, admin

    async def await_ready(self, services: str) -> None:
        """Wait until it answers, and tell it where the services are."""
        for _ in range(300):
            with contextlib.suppress(httpx.HTTPError):
                if (await self._client.get(f"{self._admin}/health")).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        for _ in range(100):
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._client.post(f"{self._admin}/deployments", json={"uri": services, "force": True})
                if answer.is_success:
                    break
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)

    async def call(self, handler: str, activities: int) -> int:
        """Run a handler and return its result."""
        answer = await self._client.post(f"{self._ingress}/peer/{handler}", json=activities)
        answer.raise_for_status()
        sizes.check(answer.json(), activities)
        return int(answer.json())

    async def send(self, activities: int) -> None:
        """Start a sequential workflow and do not wait."""
        answer = await self._client.post(f"{self._ingress}/peer/sequential/send", json=activities)
        answer.raise_for_status()

    async def open_ones(self) -> int:
        """Return how many have not ended."""
        answer = await self._client.post(
            f"{self._admin}/query", json={"query": _OPEN}, headers={"accept": "application/json"}
        )
        return int(answer.json()["rows"][0]["n"])


async def _timed(call: Callable[[], Awaitable[Any]]) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def _in_flight(count: int, calls: int, call: Callable[[], Awaitable[Any]]) -> None:
    gate = asyncio.Semaphore(count)

    async def one() -> None:
        async with gate:
            await call()

    await asyncio.gather(*(one() for _ in range(calls)))


async def _run(node: Node, name: str) -> None:
    if name in sizes.SEQUENTIAL:
        workflows, activities = (sizes.sized(count) for count in sizes.SEQUENTIAL[name])
        seconds = sum([await _timed(lambda: node.call("sequential", activities)) for _ in range(workflows)])
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name in sizes.IN_FLIGHT:
        workflows, activities = (sizes.sized(count) for count in sizes.CROWD)
        seconds = await _timed(
            lambda: _in_flight(sizes.IN_FLIGHT[name], workflows, lambda: node.call("sequential", activities))
        )
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name == "W3":
        activities = sizes.sized(sizes.FAN_OUT)
        seconds = await _timed(lambda: node.call("fan_out", activities))
        sizes.say(name, ms_per_step=seconds * 1000 / activities, seconds=seconds)
    elif name == "W4":
        sizes.say_latency(
            [await _timed(lambda: node.call("sequential", 1)) for _ in range(sizes.sized(sizes.LATENCIES))]
        )
    elif name == "W5":
        (workflows, activities), begun = map(sizes.sized, sizes.BURST), time.perf_counter()
        await _in_flight(64, workflows, lambda: node.send(activities))
        enqueued = time.perf_counter() - begun
        while await node.open_ones():
            await asyncio.sleep(0.05)
        sizes.say_burst(enqueued, time.perf_counter() - begun, workflows=workflows, activities=activities)


async def main(chosen: list[str], ports: dict[str, int]) -> None:
    """Run what was chosen."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        node = Node(client, f"http://127.0.0.1:{ports['ingress']}", f"http://127.0.0.1:{ports['admin']}")
        await node.await_ready(f"http://127.0.0.1:{ports['services']}")
        for _ in range(5):
            await node.call("sequential", 3)
        for name in chosen:
            await _run(node, name)


@contextlib.contextmanager
def _servers(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    (binary,) = folder.glob("npm/node_modules/@restatedev/restate-server-*/bin/restate-server")
    local = {
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{ports['node']}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{ports['node']}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ports['ingress']}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{ports['admin']}",
    }
    with tempfile.TemporaryDirectory(prefix="restate-") as data:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [str(binary), "--base-dir", data, "--node-name", "node", "--cluster-name", "peer"]
        node = subprocess.Popen(command, env={**os.environ, **local}, **quiet)
        serve = [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{ports['services']}"]
        services = subprocess.Popen([*serve, "benchmarks.peers.restate_services:app"], **quiet)
        try:
            yield
        finally:
            for process in (services, node):
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        probes = {name: stack.enter_context(socket.socket()) for name in names}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in probes.items()}


if __name__ == "__main__":
    free = _free_ports("node", "ingress", "admin", "services")
    with _servers(Path(os.environ["PEER_FOLDER"]), free):
        asyncio.run(main(sys.argv[1:], free))
