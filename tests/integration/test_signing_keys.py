"""The keys that sign tokens: published before they sign, kept until what they signed has ended."""

import datetime as dt
import secrets
from collections.abc import AsyncIterator

import pytest

from identity.database import Connection, Database
from identity.signing_keys import KNOWN_AFTER, TOKENS_END, SigningKeys, TooSoon

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
async def connection(identity: Database) -> AsyncIterator[Connection]:
    """Lend a transaction without any key, which is taken back in the end."""
    async with identity.connection() as lent:
        transaction = lent.transaction()
        await transaction.start()
        await lent.execute("DELETE FROM signing_keys")
        yield lent
        await transaction.rollback()


@pytest.fixture
async def keys(connection: Connection) -> SigningKeys:
    made = SigningKeys(secrets.token_bytes(32))
    await made.ensure(connection, NOW)
    return made


async def names(keys: SigningKeys, connection: Connection) -> set[str]:
    return {key["kid"] for key in await keys.published(connection)}


async def test_a_key_is_published_before_it_signs_and_after_until_its_tokens_ended(
    keys: SigningKeys, connection: Connection
) -> None:
    first = (await keys.current(connection)).kid
    at_first = await names(keys, connection)
    [following] = at_first - {first}
    assert await keys.rotate(connection, NOW + KNOWN_AFTER) == following
    assert (await keys.current(connection)).kid == following
    assert await names(keys, connection) > at_first
    await keys.rotate(connection, NOW + KNOWN_AFTER + TOKENS_END / 2)
    assert first in await names(keys, connection)
    await keys.rotate(connection, NOW + KNOWN_AFTER + TOKENS_END)
    assert first not in await names(keys, connection)
    assert len(await names(keys, connection)) == 4


async def test_a_key_that_is_not_known_everywhere_yet_does_not_sign_unless_it_must(
    keys: SigningKeys, connection: Connection
) -> None:
    first = (await keys.current(connection)).kid
    with pytest.raises(TooSoon):
        await keys.rotate(connection, NOW + KNOWN_AFTER / 2)
    assert (await keys.current(connection)).kid == first
    await keys.rotate(connection, NOW + KNOWN_AFTER / 2, at_once=True)
    assert (await keys.current(connection)).kid != first
    assert first not in await names(keys, connection)


async def test_several_first_starts_make_one_pair_of_keys(keys: SigningKeys, connection: Connection) -> None:
    before = await names(keys, connection)
    await SigningKeys(keys.secret).ensure(connection, NOW)
    assert await names(keys, connection) == before
    assert len(before) == 2


async def test_what_is_published_and_what_is_stored_holds_no_private_half(
    keys: SigningKeys, connection: Connection
) -> None:
    for key in await keys.published(connection):
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    private = (await keys.current(connection)).as_dict(private=True)["d"]
    for row in await connection.fetch("SELECT * FROM signing_keys"):
        assert str(private) not in repr(dict(row))
