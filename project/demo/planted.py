"""A small installed package with two faults, for the audit to find."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "planted-for-the-demo"
PROBLEMS = {"planted/changed.py": "changed", "planted/missing.py": "missing"}


def plant(folder: Path) -> None:
    """Write the package into a folder, which belongs on ``sys.path``."""
    info = folder / f"{NAME.replace('-', '_')}-1.0.dist-info"
    for each in (folder / "planted", info):
        each.mkdir(parents=True)
    files = {f"planted/{name}.py": f"# {name}\n" for name in ("intact", "changed", "missing")}
    for path, text in files.items():
        (folder / path).write_text(text)
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (info / "RECORD").write_text("\n".join([*record, f"{info.name}/METADATA,,", f"{info.name}/RECORD,,"]) + "\n")
    (folder / "planted/changed.py").write_text("# somebody was here\n")
    (folder / "planted/missing.py").unlink()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
