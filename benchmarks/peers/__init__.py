"""The same workloads on other engines, each installed into an environment of its own and driven by a script of ours.

A script runs in the peer's environment, so it imports nothing but the peer and
what stands in this folder; it prints a line of JSON for each workload.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent.parent
_HOME = _ROOT / "var" / "peers"
_SECONDS = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another engine.

    Attributes:
        name: That of its script.
        title: What people call it.
        packages: What pip installs for it.
        workloads: Which ones its script knows.
        npm: A package of npm that it needs besides; it is left out where there is no npm.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    workloads: tuple[str, ...]
    npm: str = ""

    def known(self, chosen: Sequence[str]) -> list[str]:
        """Return which of the chosen workloads it knows."""
        return [name for name in chosen if name in self.workloads]


_ALL = ("W1", "W1x16", "W1x64", "W2", "W3", "W4", "W5")
PEERS = (
    Peer(
        name="absurd",
        title="Absurd",
        packages=("absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]==3.3.9"),
        workloads=_ALL,
    ),
    Peer(name="dbos", title="DBOS", packages=("dbos==3.4.0", "psycopg[binary]==3.3.9"), workloads=_ALL),
    Peer(name="temporal", title="Temporal", packages=("temporalio==1.35.0",), workloads=("W6", "W6fan")),
    Peer(
        name="durabletask", title="durabletask", packages=("durabletask==1.12.0",), workloads=("W6", "W6fan", "W6long")
    ),
    Peer(
        name="restate",
        title="Restate",
        packages=("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0", "httpx==0.28.1"),
        workloads=_ALL,
        npm="@restatedev/restate-server@1.7.12",
    ),
)


class PeerError(RuntimeError):
    """A command of a peer's failed."""


def install(peer: Peer) -> str:
    """Install a peer into its environment, unless it is there, and return why that cannot be; empty if it can."""
    if peer.npm and shutil.which("npm") is None:
        return "there is no npm"
    folder = _HOME / peer.name
    stamp = folder / "installed"
    wanted = "\n".join((*peer.packages, peer.npm))
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *peer.packages])
        if peer.npm:
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "npm"), peer.npm])
    except PeerError as error:
        return f"it cannot be installed, perhaps for want of a network: {error}"
    stamp.write_text(wanted)
    return ""


def run(peer: Peer, chosen: Sequence[str], *, database: str, smoke: bool) -> Iterator[dict[str, Any]]:
    """Run a peer's script and yield what it measured, a workload at a time.

    Args:
        peer: Which.
        chosen: Names of workloads; those that it does not know are left out.
        database: The URL of a PostgreSQL database of its own.
        smoke: Whether to do next to nothing.

    Raises:
        PeerError: The script failed.
    """
    known = peer.known(chosen)
    folder = _HOME / peer.name
    python = str(folder / "bin" / "python")
    env = {"PEER_DATABASE": database, "PEER_SMOKE": "1" if smoke else "", "PEER_FOLDER": str(folder)}
    for line in _run([python, "-m", f"benchmarks.peers.run_{peer.name}", *known], env=env).splitlines():
        if line.startswith("{"):
            yield {"peer": peer.name, **json.loads(line)}


def _run(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    env = {**own, **(env or {})}
    try:
        done = subprocess.run(
            command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{' '.join(command)}: not done after {_SECONDS} s") from error
    if done.returncode:
        raise PeerError(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
