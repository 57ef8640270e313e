"""The checker itself: it takes what one order explains, and refuses what none does."""

import dataclasses
import math
import random

import msgspec

from domain.relationships import STRANGERS, FollowState, Relationship
from domain.transitions import Transition, block, follow, unblock, unfollow
from tests.proof.races.history import Answer, Operation, is_linearizable, step

FOLLOW, UNFOLLOW, BLOCK, UNBLOCK = follow(target_is_private=False), unfollow(), block(until=None), unblock()


def operation(transition: Transition, start: float, end: float, *, by_low: bool = True) -> Operation:
    return Operation("", transition, by_low, start, end)


def answered(history: list[Operation]) -> tuple[list[Operation], Relationship]:
    """Give each action the answer it gets in the order of the list."""
    state, done = STRANGERS, []
    for one in history:
        answer, state = step(state, one)
        done.append(dataclasses.replace(one, answer=answer))
    return done, state


def test_actions_one_after_the_other_are_taken() -> None:
    history, end = answered([operation(FOLLOW, 0, 1), operation(BLOCK, 2, 3, by_low=False), operation(FOLLOW, 4, 5)])
    assert history[2].answer is None
    assert is_linearizable(history, end)


def test_actions_at_the_same_time_are_taken_in_any_order() -> None:
    history, end = answered([operation(BLOCK, 0, 9, by_low=False), operation(FOLLOW, 0, 9), operation(UNFOLLOW, 1, 8)])
    assert is_linearizable(history[::-1], end)


def test_an_answer_from_the_past_is_refused() -> None:
    history, end = answered([operation(BLOCK, 0, 9, by_low=False), operation(FOLLOW, 0, 9)])
    late = [history[0], dataclasses.replace(history[1], invoked=10, answered=11)]
    assert is_linearizable(late, end)
    early = [dataclasses.replace(history[0], invoked=10, answered=11), history[1]]
    assert not is_linearizable(early, end)


def test_a_lost_update_is_refused() -> None:
    both, _ = answered([operation(FOLLOW, 0, 9)])
    twice = [both[0], dataclasses.replace(both[0], invoked=1)]
    assert both[0].answer is not None
    assert not is_linearizable(twice, both[0].answer.state)
    followed_by = Relationship(followed_by=FollowState.ACTIVE, version=1)
    answer = step(STRANGERS, operation(FOLLOW, 0, 9, by_low=False))[0]
    other = dataclasses.replace(both[0], by_low=False, answer=answer)
    assert not is_linearizable([both[0], other], followed_by)


def test_another_state_at_the_end_is_refused() -> None:
    history, end = answered([operation(FOLLOW, 0, 1)])
    assert not is_linearizable(history, msgspec.structs.replace(end, version=2))
    assert not is_linearizable(history, STRANGERS)


def test_an_action_without_an_answer_may_have_happened_or_not() -> None:
    unknown = Operation("", FOLLOW, by_low=True, invoked=0, answered=math.inf, is_known=False)
    followed = step(STRANGERS, unknown)[1]
    assert is_linearizable([unknown], STRANGERS)
    assert is_linearizable([unknown], followed)
    refused = operation(BLOCK, 5, 6, by_low=False)
    assert not is_linearizable([unknown, dataclasses.replace(refused, answer=None)], STRANGERS)


def test_a_long_history_is_checked_and_one_wrong_answer_in_it_is_found() -> None:
    rng = random.Random(11)
    history, end = answered(
        [
            operation(rng.choice([FOLLOW, UNFOLLOW, BLOCK, UNBLOCK]), turn, turn + 12, by_low=rng.random() < 0.5)
            for turn in range(800)
        ]
    )
    assert is_linearizable(history, end)
    changing = [number for number, one in enumerate(history) if one.answer is not None and one.answer.events]
    wrong = changing[len(changing) // 2]
    lost = dataclasses.replace(history[wrong], answer=Answer((), STRANGERS))
    assert not is_linearizable([*history[:wrong], lost, *history[wrong + 1 :]], end)
