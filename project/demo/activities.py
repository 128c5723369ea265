"""What the demo's back office does: it collects invoices through a bank that can be down, and pays refunds."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings

from durable import RetryPolicy, activity
from project.trace import traced

BANK_IS_DOWN = settings.VAR_DIR / "bank-is-down"
"""While this file is there, the bank does not answer."""


class BankDown(Exception):
    """The bank does not answer."""


@activity.defn
@traced
def look_up(number: int) -> Decimal:
    """Return what an invoice comes to, as somebody typed it in."""
    return Decimal(number) / 10


@activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=0.1))
@traced
def collect(number: int, amount: Decimal) -> str:
    """Have the bank collect an amount, and return the receipt."""
    if BANK_IS_DOWN.exists():
        raise BankDown(f"no answer about invoice {number}")
    return f"receipt for {amount:.2f}"


@activity.defn
@traced
def send_mail(number: int) -> None:
    """Tell the customer that the money is being collected."""


@activity.defn
@traced
def archive(number: int, receipt: str) -> str:
    """File a receipt."""
    return f"invoice {number}: {receipt}"


@activity.defn
@traced
def open_claim(number: int) -> str:
    """Open a claim for a refund."""
    return f"claim-{number}"


@activity.defn
@traced
def ask_manager(claim: str) -> None:
    """Tell a manager of a large claim."""


@activity.defn
@traced
def ask_two_managers(claim: str) -> None:
    """Tell two managers of a large claim, as is required by now."""


@activity.defn
@traced
def pay_back(claim: str, amount: Decimal) -> str:
    """Pay a refund."""
    return f"{claim}: {amount:.2f} paid back"


@activity.defn
@traced
def send_letter(claim: str) -> None:
    """Tell the customer that the money is on its way."""
