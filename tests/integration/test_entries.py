"""What is stored in Redis: in how few commands, and never in place of what is newer."""

import secrets
from collections.abc import Sequence
from typing import Any

import pytest

from storage.entries import (
    FEW,
    Stamped,
    Versioned,
    read_stamped,
    read_versioned,
    write,
    write_newer,
    write_under_epoch,
)
from storage.exchanges import Command
from storage.redis_client import Redis
from storage.scripts import TOGETHER

MANY = 2 * TOGETHER + 1
pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Command]]:
    """Give what is sent, exchange by exchange."""
    seen: list[list[Command]] = []
    exchange = Redis.exchange

    async def noting(self: Redis, commands: Sequence[Command]) -> list[Any]:
        seen.append(list(commands))
        return await exchange(self, commands)

    monkeypatch.setattr(Redis, "exchange", noting)
    return seen


def names(count: int) -> list[tuple[str, str]]:
    """Name the keys of epochs and values that nobody has used."""
    tag = secrets.token_hex(8)
    return [(f"epoch:{{{tag}.{number}}}", f"value:{{{tag}.{number}}}") for number in range(count)]


def stamped(keys: Sequence[tuple[str, str]], epochs: Sequence[bytes]) -> list[Stamped]:
    return [
        Stamped(key, epoch_key, epoch, key.encode(), 60.0) for (epoch_key, key), epoch in zip(keys, epochs, strict=True)
    ]


async def test_what_is_stored_is_read_with_one_command_however_much_it_is(
    redis: Redis, sent: list[list[Command]]
) -> None:
    keys = names(MANY)
    begun = [epoch for epoch, _ in await read_stamped(redis, keys)]
    await write_under_epoch(redis, stamped(keys, begun))
    sent.clear()
    found = await read_stamped(redis, keys)
    assert found == [(epoch, key.encode()) for (_, key), epoch in zip(keys, begun, strict=True)]
    assert list(map(len, sent)) == [1]


@pytest.mark.parametrize(("size", "trips"), [(FEW, 1), (FEW + 1, 2)], ids=["few", "many"])
async def test_epochs_that_are_not_there_begin_before_anything_is_told_and_the_others_go_on(
    redis: Redis, sent: list[list[Command]], size: int, trips: int
) -> None:
    keys = names(size)
    [(first, nothing)] = await read_stamped(redis, keys[:1])
    sent.clear()
    found = await read_stamped(redis, keys)
    assert (nothing, found[0]) == (None, (first, None))
    assert len(sent) == trips
    assert await redis.read([epoch for epoch, _ in keys]) == [epoch for epoch, _ in found]


@pytest.mark.parametrize("size", [2, FEW + 1])
async def test_values_under_one_epoch_ask_for_it_once(redis: Redis, sent: list[list[Command]], size: int) -> None:
    epoch, keys = names(1)[0][0], [key for _, key in names(size)]
    found = await read_stamped(redis, [(epoch, key) for key in keys])
    assert len(set(found)) == 1
    assert [command.count(epoch) for command in sent[0]].count(1) == 1


async def test_of_many_values_only_those_whose_epoch_has_ended_are_left_out(redis: Redis) -> None:
    keys = names(MANY)
    begun = [epoch for epoch, _ in await read_stamped(redis, keys)]
    for ended in (0, TOGETHER, MANY - 1):
        await redis.exchange([("SET", keys[ended][0], b"another!")])
    await write_under_epoch(redis, stamped(keys, begun))
    found = await redis.read([key for _, key in keys])
    assert [number for number, value in enumerate(found) if value is None] == [0, TOGETHER, MANY - 1]


async def test_a_value_of_an_epoch_that_has_ended_is_not_used(redis: Redis) -> None:
    keys = names(1)
    await write_under_epoch(redis, stamped(keys, [(await read_stamped(redis, keys))[0][0]]))
    await redis.exchange([("SET", keys[0][0], b"another!")])
    assert await read_stamped(redis, keys) == [(b"another!", None)]
    await redis.exchange([("DEL", keys[0][0])])
    assert (await read_stamped(redis, keys))[0][1] is None


async def test_values_of_both_sorts_are_stored_in_one_round_trip(redis: Redis, sent: list[list[Command]]) -> None:
    [pair], [(_, other)] = names(1), names(1)
    begun = [epoch for epoch, _ in await read_stamped(redis, [pair])]
    sent.clear()
    await write(redis, stamped([pair], begun), [Versioned(other, 1, b"one", 60.0)])
    assert len(sent) == 1 + any("EVAL" in command for command in sent[-1])  # once more where a script was not known
    assert await read_stamped(redis, [pair]) == [(begun[0], pair[1].encode())]
    assert await read_versioned(redis, [other]) == [b"one"]


async def test_of_many_values_only_those_of_lower_versions_are_left_out(redis: Redis) -> None:
    keys = [key for _, key in names(MANY)]
    await write_newer(redis, [Versioned(key, 7, b"seven", 60.0) for key in keys])
    await write_newer(redis, [Versioned(key, 6 + number % 3, b"other", 60.0) for number, key in enumerate(keys)])
    found = await read_versioned(redis, keys)
    assert found == [b"other" if number % 3 else b"seven" for number in range(MANY)]


async def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(
    redis: Redis, sent: list[list[Command]]
) -> None:
    keys = names(2)
    begun = [epoch for epoch, _ in await read_stamped(redis, keys)]
    await redis.exchange([("SCRIPT", "FLUSH")])
    sent.clear()
    for _ in range(2):
        await write_under_epoch(redis, stamped(keys, begun))
    assert [commands[0][0] for commands in sent] == ["EVALSHA", "EVAL", "EVALSHA"]
    assert [value for _, value in await read_stamped(redis, keys)] == [key.encode() for _, key in keys]
