"""Logs: one JSON object a line, so that no text of a client can forge a second one."""

import datetime as dt
import json
import logging
import sys
from typing import Final

from domain import traces

_NOISY: Final = ("aiokafka", "asyncio", "aiohttp.access", "authlib")


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger and message; an exception adds its type and place, never its message.

    What is said while a request is answered names the request and its trace.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = traces.current()
        if trace is not None:
            line["request"], line["trace"] = trace.span_id, trace.trace_id
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["place"] = _place(record)
        return json.dumps(line)


def _place(record: logging.LogRecord) -> str:
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"


def configure_logs() -> None:
    """Send all logs to standard error, ours from level info and those of chatty libraries from critical."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
