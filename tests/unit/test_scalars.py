"""What the schema's own scalars write."""

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schema.schema import GRAPHQL_SCHEMA

LISBON_ONCE = dt.timezone(-dt.timedelta(minutes=36, seconds=45))
WRITE = GRAPHQL_SCHEMA.type_map["DateTime"].coerce_output_value  # type: ignore[attr-defined] # it is a scalar


@given(st.datetimes(timezones=st.just(dt.UTC) | st.timezones() | st.none()))
@example(dt.datetime(1, 1, 1, tzinfo=dt.UTC))
@example(dt.datetime(2026, 1, 31, 12, 0, 0, 10, tzinfo=dt.UTC))
@example(dt.datetime(1900, 1, 1, tzinfo=LISBON_ONCE))
def test_an_instant_is_written_as_the_standard_library_writes_it(instant: dt.datetime) -> None:
    assert WRITE(instant) == instant.isoformat()


@pytest.mark.parametrize("value", ["2026-01-31", b"", 1, dt.date(2026, 1, 31)])
def test_nothing_else_is_written_as_an_instant(value: object) -> None:
    with pytest.raises(TypeError):
        WRITE(value)
