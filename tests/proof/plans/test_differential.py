"""A plan answers what graphql-core answers: data, order of keys, errors with their paths, effects of mutations.

They are made by our own generator and by hypothesis-graphql, and then made nastier. `PROVE=long` compares more than
20,000 of each kind; otherwise some hundreds are compared.
"""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from graphql import DocumentNode, parse, print_ast
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema

from tests.proof.plans.comparing import STATISTICS, Compiled, compare
from tests.proof.plans.generating import generate
from tests.proof.plans.mutating import CONDITIONS, mutate
from tests.proof.plans.planted import PLANTED
from tests.proof.plans.torture import GRAPHQL, World

LONG = os.environ.get("PROVE") == "long"
SEEDS = 5000 if LONG else 50
EXAMPLES = 5000 if LONG else 50
"""Of each, four or five operations are compared: with other conditions, and other values."""
ENOUGH = 3000
"""How many seeds a planted fault may take to be found."""
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


async def differences(document: DocumentNode, seed: int) -> list[str]:
    """Compare a document, made nastier, with all sets of its variables by the same plans."""
    mutated = mutate(GRAPHQL, document, seed)
    text = print_ast(mutated.document)
    again, compiled = parse(text), Compiled(CONDITIONS)
    found = [
        await compare(GRAPHQL, again, variables, lambda: World(seed % WAYS_TO_WAIT), compiled)
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


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(text=from_schema(GRAPHQL), seed=st.integers(0, 2**32))
async def test_operations_made_by_hypothesis_are_answered_alike(text: str, seed: int) -> None:
    assert await differences(parse(text), seed) == []


async def first_difference(start: int) -> int | None:
    """Give the first seed from here on at which something differs."""
    for seed in range(start, start + ENOUGH):
        try:
            if await differences(generate(GRAPHQL, seed), seed):
                return seed
        except Exception:  # noqa: BLE001 - a fault that breaks the plan shows, too
            return seed
    return None


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_fault_is_found(name: str) -> None:
    """Compare until something differs: how many seeds that takes is printed."""
    start = 0 if LONG else PLANTED[name].seed
    with PLANTED[name].plant():
        found = await first_difference(start)
    assert found is not None
    sys.stdout.write(f"{name}: found at seed {found}\n")
