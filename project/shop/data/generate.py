"""Writes the shop's data: ``python -m project.shop.data.generate``. The same each time."""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent

PRODUCTS = [
    ("TEA-01", "Green tea, 100 g", "6.90", 130),
    ("TEA-02", "Black tea, 100 g", "5.50", 130),
    ("CUP-01", "Cup, blue", "12.00", 100),
    ("CUP-02", "Cup, white", "11.00", 100),
    ("POT-01", "Tea pot, cast iron", "79.00", 70),
    ("POT-02", "Tea pot, glass", "34.50", 60),
    ("KET-01", "Kettle", "49.90", 70),
    ("SET-01", "Tea set for six", "189.00", 60),
    ("BOX-01", "Tea box, oak", "64.00", 50),
    ("BOO-01", "The Book of Tea", "14.95", 18),
]
FIRST = ["Ada", "Alan", "Barbara", "Donald", "Edsger", "Frances", "Grace", "John", "Katherine", "Leslie", "Niklaus"]
LAST = ["Adler", "Bauer", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Horvat", "Ivanova", "Jensen", "Kim"]
ORDERS = 300
FIRST_DAY, DAYS = date(2025, 3, 3), 5


def products() -> list[list[str]]:
    """Return the rows of products.csv; of one thing there is too little for everybody."""
    return [["sku", "name", "price", "stock"], *([sku, name, price, str(n)] for sku, name, price, n in PRODUCTS)]


def orders() -> list[list[str]]:
    """Return the rows of orders.csv, in the order in which they were placed."""
    chance = random.Random(300)  # noqa: S311 - not a secret
    rows = [["number", "placed_on", "customer", "sku", "quantity"]]
    for number in range(1, ORDERS + 1):
        day = FIRST_DAY + timedelta(days=(number - 1) * DAYS // ORDERS)
        customer = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        sku = chance.choice(PRODUCTS)[0]
        rows.append([str(number), day.isoformat(), customer, sku, str(chance.choice([1, 1, 1, 2, 2, 3, 4]))])
    return rows


def main() -> None:
    for name, rows in (("products", products()), ("orders", orders())):
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
