"""A plan answers what graphql-core answers: data, order of keys, errors with their paths, effects of mutations.

`PROVE=long` compares more than 20,000 operations; otherwise some hundreds are compared.
"""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import parse, print_ast

from tests.proof.plans.comparing import STATISTICS, compare
from tests.proof.plans.generating import generate
from tests.proof.plans.mutating import mutate
from tests.proof.plans.torture import GRAPHQL, World

LONG = os.environ.get("PROVE") == "long"
SEEDS = 12_000 if LONG else 100
FIRST_SEED = int(os.environ.get("PROVE_SEED", "20"))
WAYS_TO_WAIT = 5

# graphql-core leaves what it asked for behind when a sibling fails, and Python says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine '(Executor|default_type_resolver).*:RuntimeWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <coroutine object (Executor|default_type_resolver)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Let what graphql-core left behind be told of here."""
    yield
    gc.collect()


async def differences(document: Any, seed: int) -> list[str]:
    mutated = mutate(GRAPHQL, document, seed)
    text = print_ast(mutated.document)
    found = [
        await compare(GRAPHQL, parse(text), variables, lambda: World(seed % WAYS_TO_WAIT))
        for variables in mutated.variables
    ]
    return [f"seed {seed}: {difference}\n{text}" for difference in found if difference is not None]


async def test_operations_made_by_chance_are_answered_alike() -> None:
    before = STATISTICS["compared"]
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        assert await differences(generate(GRAPHQL, seed), seed) == []
    assert STATISTICS["compared"] - before > SEEDS
    assert STATISTICS["with errors"] > STATISTICS["compared"] / 4
    assert not [name for name in STATISTICS if name.startswith("no plan")]
