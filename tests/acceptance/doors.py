"""One request by each door of `/graphql`, and the response that came back, whatever it was wrapped in."""

import json
from typing import Any, Final

from tests.acceptance.main_job import MainJob
from tests.acceptance.probes import open_socket, send, send_json
from tests.acceptance.streams import EVENTS

DOORS: Final = ("post", "get", "socket", "stream")


async def ask_by(door: str, job: MainJob, **fields: Any) -> dict[str, Any]:
    """Send a request's fields by a door; gives the response: data, errors or both."""
    answers = {"post": _post, "get": _get, "socket": _socket, "stream": _stream}
    return await answers[door](job, fields)


async def _post(job: MainJob, fields: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = (await send_json(job, **fields)).json
    return answer


async def _get(job: MainJob, fields: dict[str, Any]) -> dict[str, Any]:
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    answer: dict[str, Any] = (await send(job, method="GET", parameters=parameters)).json
    return answer


async def _socket(job: MainJob, fields: dict[str, Any]) -> dict[str, Any]:
    async with open_socket(job) as socket:
        await socket.write({"type": "connection_init"}, {"type": "subscribe", "id": "1", "payload": fields})
        await socket.read_until(type="connection_ack")
        message = await socket.read()
    payload = message["payload"]
    return {"errors": payload} if message["type"] == "error" else payload


async def _stream(job: MainJob, fields: dict[str, Any]) -> dict[str, Any]:
    answer = await send_json(job, EVENTS, **fields)
    event = answer.body.split(b"\n")[1].removeprefix(b"data: ")
    response: dict[str, Any] = json.loads(event)
    return response
