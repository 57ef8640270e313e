"""Documents kept under their hashes: bounded, and never another's."""

import pytest

from execution.engine import GraphQLRequest
from execution.persisted import MAX_KEPT, MAX_KEPT_CHARACTERS, NotFound, PersistedDocuments, hash_of
from storage.persisted_documents import SLOTS, slot_key


class Shelf:
    """A store that gives what it is told to give."""

    def __init__(self, found: bytes | None = None) -> None:
        self.found = found
        self.kept: list[bytes] = []

    async def fetch(self, sha256: str) -> bytes | None:
        del sha256
        return self.found

    async def keep(self, sha256: str, document: bytes) -> None:
        del sha256
        self.kept.append(document)


def asking(document: str, query: str = "") -> GraphQLRequest:
    return GraphQLRequest(query, extensions={"persistedQuery": {"version": 1, "sha256Hash": hash_of(document)}})


async def test_what_the_store_gives_for_another_hash_is_not_used() -> None:
    persisted = PersistedDocuments(Shelf(b"{ other }"), {})
    with pytest.raises(NotFound):
        await persisted.find(asking("{ mine }"))


async def test_what_the_store_has_is_asked_for_once() -> None:
    shelf = Shelf(b"{ mine }")
    persisted = PersistedDocuments(shelf, {})
    assert (await persisted.find(asking("{ mine }"))).query == "{ mine }"
    shelf.found = None
    assert (await persisted.find(asking("{ mine }"))).query == "{ mine }"


@pytest.mark.parametrize("size", [10, 16_000])
async def test_memory_is_bounded_in_number_and_characters(size: int) -> None:
    persisted = PersistedDocuments(Shelf(), {})
    for number in range(MAX_KEPT + 1):
        document = f"{{ a{number} }}".ljust(size)
        await persisted.keep(asking(document, document))
    kept = persisted._kept.values()
    assert sum(map(len, kept)) == persisted._characters <= MAX_KEPT_CHARACTERS
    assert len(kept) <= MAX_KEPT
    with pytest.raises(NotFound):
        await persisted.find(asking("{ a0 }".ljust(size)))


async def test_a_large_document_is_not_kept() -> None:
    shelf = Shelf()
    document = "{ a }".ljust(20_000)
    await PersistedDocuments(shelf, {}).keep(asking(document, document))
    assert shelf.kept == []


def test_redis_has_a_fixed_number_of_places() -> None:
    keys = {slot_key(hash_of(str(number))) for number in range(20 * SLOTS)}
    assert len(keys) == SLOTS
