"""Runs the peers beside our own rounds, and compares."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import psycopg
from django.db import connection
from psycopg import sql

from benchmarks import limits, peers, report

_Found = dict[tuple[str, str], dict[str, list[float]]]


class Rivals:
    """The peers that a run has, and what they came to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._found: _Found = {}
        self._peers: list[peers.Peer] = []
        for peer in peers.PEERS if options.peers else ():
            if not peer.known(options.workloads):
                continue
            report.progress(f"{peer.title}: installing, unless it is there")
            if why := peers.install(peer):
                report.progress(f"{peer.title} is left out: {why}")
            else:
                self._peers.append(peer)

    def run(self) -> None:
        """Run each peer once."""
        for peer in self._peers:
            report.progress(f"{peer.title}: {', '.join(peer.known(self._options.workloads))}")
            for line in self._run(peer):
                values = self._found.setdefault((line.pop("peer"), line.pop("workload")), {})
                for name, value in line.items():
                    values.setdefault(name, []).append(value)

    def _run(self, peer: peers.Peer) -> list[dict[str, Any]]:
        name = f"{connection.settings_dict['NAME']}_{peer.name}"
        given = limits.parameters()
        url = f"postgresql://{given['user']}@{given['host']}:{given['port']}/{name}"
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(**given, autocommit=True) as client:
            client.execute(drop)
            client.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                return list(peers.run(peer, self._options.workloads, database=url, smoke=self._options.smoke))
            except peers.PeerError as error:
                report.progress(f"{peer.title} failed: {error}")
                return []
            finally:
                client.execute(drop)

    def rows(self, ours: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
        """Return what peers came to, medians of the rounds, beside which row of ours, and how many times our time.

        Args:
            ours: The rows of our own workloads.
            names: What our rows are called, by the name that a workload was chosen by.
        """
        mine = {row["workload"]: row for row in ours}
        return [
            {
                "peer": peer,
                "workload": workload,
                **_medians(values),
                **_times(values, mine.get(names[workload.partition(" ")[0]])),
            }
            for (peer, workload), values in self._found.items()
        ]


def _medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(statistics.median(each), 4) for name, each in values.items()}


def _times(values: dict[str, list[float]], ours: dict[str, Any] | None) -> dict[str, Any]:
    if ours is None:
        return {}
    theirs = statistics.median(values["ms_per_step"])
    return {
        "beside": ours["workload"],
        "times_ours": round(theirs / ours["ms_per_step"], 2),
        "ratio": round(theirs / ours["limit_ms"], 2),
        "limit_ms": ours["limit_ms"],
    }
