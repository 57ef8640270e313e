"""W3C Trace Context: what a caller says is taken up where it is exactly of the form, and not shown where it is not."""

import json
import logging

import pytest

from domain import traces
from logs import JsonFormatter

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    "value",
    [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-03", f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes"],
)
def test_a_trace_of_the_form_goes_on_under_a_span_of_ours(value: str) -> None:
    trace = traces.continued([value])
    assert trace.trace_id == TRACE
    assert trace.span_id != SPAN
    assert trace.parent == f"00-{TRACE}-{trace.span_id}-01"


def test_whoever_does_not_sample_is_not_sampled() -> None:
    assert traces.continued([f"00-{TRACE}-{SPAN}-02"]).parent.endswith("-00")


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["00"],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"00-{TRACE}-{SPAN}-01-more"],
        [f"00-{TRACE}-{SPAN}-01-"],
        [f"00-{TRACE}-{SPAN}-01\n"],
        [f" 00-{TRACE}-{SPAN}-01"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[:-1]}g-{SPAN}-01"],
        [f"00-{'٣' * 32}-{SPAN}-01"],
        [f"cc-{TRACE}-{SPAN}-01.more"],
        [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"],
        ["x" * 100_000],
    ],
    ids=lambda values: repr(values)[:60],
)
def test_what_is_not_of_the_form_begins_a_trace(values: list[str]) -> None:
    trace = traces.continued(values)
    assert trace.trace_id != TRACE
    assert len(trace.trace_id) == 32
    assert traces.continued([trace.parent]).trace_id == trace.trace_id


def test_a_log_line_names_the_request_it_was_written_in() -> None:
    record = logging.LogRecord("kith", logging.INFO, __file__, 1, "said", (), None)
    trace = traces.continued([f"00-{TRACE}-{SPAN}-01"])
    with traces.within(trace):
        line = json.loads(JsonFormatter().format(record))
    assert (line["request"], line["trace"]) == (trace.span_id, TRACE)
    assert "trace" not in json.loads(JsonFormatter().format(record))
