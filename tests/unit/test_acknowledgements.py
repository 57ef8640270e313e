"""Acknowledgements of erasure: the fact sent back as it came, under the name of whoever has erased."""

import dataclasses

import pytest

from domain.events import EventType
from events.acknowledgements import Acknowledged, read_acknowledgement
from events.records import UnreadableRecord, headers_of
from tests.unit.test_contract import row_of


def sent_back(event_type: EventType, consumer: bytes) -> Acknowledged | None:
    row = row_of(event_type)
    headers = [*dict(headers_of(row), ce_source=consumer).items()]
    found = read_acknowledgement(row.key.encode(), headers, row.payload)
    assert found is None or isinstance(found, Acknowledged)
    return found


def test_the_fact_that_comes_back_says_who_has_erased() -> None:
    found = sent_back(EventType.USER_PURGED, b"search-index")
    assert found is not None
    assert found.consumer == "search-index"
    assert found.key == row_of(EventType.USER_PURGED).key
    assert dataclasses.replace(found).type is EventType.USER_PURGED


def test_any_other_fact_is_passed_over() -> None:
    assert sent_back(EventType.USER_DELETED, b"search-index") is None


@pytest.mark.parametrize("name", [b"kith", b"", b"Search Index", b"\xff", b"a" * 65])
def test_nobody_acknowledges_for_this_service_or_without_a_name(name: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        sent_back(EventType.USER_PURGED, name)
