"""Random numbers, identities, and what looks like them."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from random import choice, shuffle
from secrets import token_hex
from uuid import UUID, uuid4

from durable import workflow


@workflow.defn
async def draws(order: str) -> None:
    random.random()  # want: DUR003 random.random() is random
    choice([1, 2])  # want: DUR003 random.choice()
    shuffle([])  # want: DUR003 random.shuffle()
    random.Random().random()  # want: DUR003 random.Random()
    random.SystemRandom().random()  # want: DUR003 random
    uuid4()  # want: DUR003 uuid.uuid4()
    str(uuid.uuid1())  # want: DUR003 uuid.uuid1()
    secrets.token_hex()  # want: DUR003 secrets.token_hex()
    token_hex(8)  # want: DUR003 secrets.token_hex()
    os.urandom(8)  # want: DUR003 os.urandom()
    {}.setdefault("key", uuid4())  # want: DUR003 uuid.uuid4()
    sorted([1], key=random.expovariate)  # want: DUR003 random.expovariate()
    id(order)  # want: DUR014 id() differs
    sorted(["b", "a"], key=hash)  # want: DUR014 hash() differs
    import numpy as np
    from numpy.random import rand

    np.random.rand()  # want: DUR003 numpy.random.rand()
    rand()  # want: DUR003 numpy.random.rand()


@workflow.defn
async def draws_as_told(seed: int, id: str) -> None:
    workflow.random()
    workflow.random().choice([1, 2])
    workflow.uuid4()
    UUID("c0ffee00-0000-4000-8000-000000000000")
    uuid.uuid5(uuid.NAMESPACE_URL, id)
    generator = random.Random(seed)
    generator.choice([1, 2])
    workflow.side_effect(uuid.uuid4)
    workflow.side_effect(lambda: secrets.token_hex())

    def hash(value: str) -> int:
        return len(value)

    hash(id)
    isinstance(generator, random.Random)
