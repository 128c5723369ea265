"""What activities return, here and in the peers."""

from __future__ import annotations

from typing import Any

PAYLOAD: dict[str, Any] = {
    "event": "ActivityTaskCompleted",
    "activity": "shop.activities.charge_card",
    "scheduled_id": 17,
    "attempt": 1,
    "worker": "worker-1@host-3",
    "result": {
        "order_id": "a3f1c9d2-77aa-4a2b-9d2b-0c2f1f0a9b11",
        "amount": "129.90",
        "currency": "EUR",
        "status": "captured",
        "reference": "ch_3PqX9uK2e",
    },
    "duration_ms": 12.4,
}
"""What an activity returns, and what a row of the limit holds: 293 bytes of compact JSON."""
