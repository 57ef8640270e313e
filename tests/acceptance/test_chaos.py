"""The faults of a schedule in their short form, as `make chaos` has them long; and accounts that are able to fail."""

import dataclasses
from pathlib import Path

import pytest

from domain.events import FollowPayload
from tests.chaos.accounts import Account, told_once
from tests.chaos.actors import Expected
from tests.chaos.run import Plan, run
from tests.chaos.schedule import PARTS, schedule
from tests.chaos.sink import Heard

FOLLOWED, UNFOLLOWED = Expected("follow.created", "b"), Expected("follow.removed", "b")


def heard(*events: Expected) -> list[Heard]:
    payload = FollowPayload(follower_id="a", followee_id="b", pair_version=1)
    return [Heard(event.type, number, payload) for number, event in enumerate(events)]


async def test_parts_that_fail_lose_nothing_double_nothing_and_mix_nothing_up(short_folder: Path) -> None:
    plan = Plan(20_260, mutations=300, actors=4, fans=10, kills=1, broker_kills=1, frozen_s=2.0)
    figures = await run(plan, short_folder / "chaos")
    assert figures.faults == len(PARTS) + 1
    assert figures.mutations >= plan.mutations
    assert figures.is_flawless, figures


@pytest.mark.parametrize(
    ("told", "account"),
    [
        ([FOLLOWED, UNFOLLOWED], Account()),
        ([FOLLOWED], Account(lost=1)),
        ([FOLLOWED, FOLLOWED, UNFOLLOWED], Account(doubled=1)),
        ([UNFOLLOWED, FOLLOWED], Account(disordered=1)),
    ],
    ids=["flawless", "lost", "doubled", "out of order"],
)
def test_the_accounts_tell_what_is_wrong(told: list[Expected], account: Account) -> None:
    found = Account()
    found.add([FOLLOWED, UNFOLLOWED], heard(*told))
    assert found == account


def test_whoever_is_not_told_of_or_told_of_twice_or_in_vain_is_counted() -> None:
    assert told_once({"a": 1, "b": 3, "d": 1}, ["a", "b", "c"]) == (["c"], ["b", "b"], ["d"])


def test_a_seed_gives_one_schedule() -> None:
    one, again, other = [schedule(seed, mutations=1000, kills=2, broker_kills=3, frozen_s=1.0) for seed in (1, 1, 2)]
    assert one == again != other
    assert len(one) == 2 * (len(PARTS) - 1) + 3 + 1
    assert dataclasses.asdict(one[0])["at"] > 0
