"""Reading a GraphQL request out of a body or a query string, strictly: what is not exactly one is refused."""

import asyncio
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from json.scanner import make_scanner
from types import NoneType
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, PayloadEncodingError

from domain.errors import KithError
from execution.engine import GraphQLRequest
from execution.persisted import EXTENSION

MAX_BODY_BYTES: Final = 128 * 1024
READ_TIMEOUT_S: Final = 10.0
_MEDIA_TYPE: Final = "application/json"
_IDENTITY: Final = "identity"
_ENCODINGS: Final = frozenset({"gzip", "deflate", _IDENTITY})
_GZIP: Final = 16
"""What zlib takes besides the size of its window to read gzip's frame."""
_MAX_PARAMETERS: Final = 20
_ESCAPED_SURROGATE: Final = "\\ud"
_FIELDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "operationName": ((str, NoneType), "a string"),
    "documentId": ((str, NoneType), "a string"),
    "variables": ((dict, NoneType), "an object"),
    "extensions": ((dict, NoneType), "an object"),
}
"""What a request may have beside its document."""


class BadRequest(KithError):
    """This is not a GraphQL request."""

    code = "BAD_REQUEST"
    status = 400
    headers: ClassVar[Mapping[str, str]] = {}
    closes: ClassVar[bool] = False
    """Whether the connection ends with it: what else comes on it could be read as something that it is not."""


class UnsupportedMediaType(BadRequest):
    """Send `Content-Type: application/json`, in UTF-8."""

    status = 415


class UnknownEncoding(BadRequest):
    """Of content codings only `gzip` and `deflate` are understood."""

    status = 415
    headers: ClassVar[Mapping[str, str]] = {"Accept-Encoding": "gzip, deflate"}


class BodyTooLarge(BadRequest):
    """The body is larger than 128 KiB."""

    status = 413
    closes = True


class BodyTooSlow(BadRequest):
    """The body did not arrive within 10 s."""

    status = 408
    closes = True


class BodyUnreadable(BadRequest):
    """The body cannot be read; is its Content-Encoding what the header says?"""

    closes = True


async def read_body(request: web.Request) -> GraphQLRequest:
    """Read the request of a POST.

    Raises:
        BadRequest: with the status that fits.
    """
    return request_of(decode_object(await _read(request)))


async def read_object(request: web.Request, names: Sequence[str]) -> dict[str, Any]:
    """Read a body that may be left out, of an object with at most these names; raises BadRequest.

    What the client has named otherwise is not repeated: it may be personal, and clients log errors.
    """
    if not request.can_read_body:
        return {}
    fields = decode_object(await _read(request))
    if fields.keys() - set(names):
        known = ", ".join(f"`{name}`" for name in names)
        raise BadRequest(f"The body may have no fields but {known}." if known else "The body may have no fields here.")
    return fields


async def _read(request: web.Request) -> bytes:
    _check_media_type(request.headers.getall("Content-Type", []))
    _check_encoding(request.headers.getall("Content-Encoding", ()))
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        if request.content.is_eof():  # all of it has come with the head
            data = await request.read()
        else:
            async with asyncio.timeout(READ_TIMEOUT_S):
                data = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except TimeoutError:
        raise BodyTooSlow from None
    except ConnectionError:
        raise BodyUnreadable from None
    except (PayloadEncodingError, HttpProcessingError, web.RequestPayloadError, ValueError):
        raise BodyUnreadable from None
    coding = request.headers.get("Content-Encoding", _IDENTITY).strip().lower()
    return data if coding == _IDENTITY else _unpacked(data, coding)


def _unpacked(data: bytes, coding: str) -> bytes:
    """Unpack a body as far as it may be large, and no further: what it could become costs nothing."""
    wbits = zlib.MAX_WBITS | _GZIP if coding == "gzip" else zlib.MAX_WBITS
    unpacking = zlib.decompressobj(wbits=wbits)
    try:
        text = unpacking.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise BodyUnreadable from None
    if len(text) > MAX_BODY_BYTES:
        raise BodyTooLarge
    if not unpacking.eof or unpacking.unused_data:
        raise BodyUnreadable
    return text


def read_query_string(request: web.Request) -> GraphQLRequest:
    """Read the request of a GET; raises BadRequest."""
    parameters = _parameters(request.rel_url.raw_query_string)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = _decoded(name, parameters[name])
    return request_of(parameters)


def _decoded(name: str, text: str) -> dict[str, Any]:
    try:
        return decode_object(text.encode("utf-8", "surrogatepass"))
    except BadRequest:
        raise BadRequest(f"The parameter `{name}` is not a JSON object.") from None


def _parameters(text: str) -> dict[str, Any]:
    """Read what stands behind the `?`: each parameter once, in UTF-8; raises BadRequest."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
        return _unique(pairs)
    except ValueError:
        raise BadRequest("The parameters cannot be read: each is given once, in UTF-8.") from None


def request_of(fields: Mapping[str, Any]) -> GraphQLRequest:
    """Check the types of a request's fields; raises BadRequest."""
    for name, (type_, described) in _FIELDS.items():
        if name in fields and not isinstance(fields[name], type_):
            raise BadRequest(f"`{name}` must be {described}.")
    query, operation_name, document_id = fields.get("query"), fields.get("operationName"), fields.get("documentId")
    variables, extensions = fields.get("variables"), fields.get("extensions")
    is_named = document_id is not None or (extensions is not None and extensions.get(EXTENSION) is not None)
    if not (query is None and is_named) and (not isinstance(query, str) or not query.strip()):
        raise BadRequest("`query` must be a GraphQL document.")
    return GraphQLRequest(query or "", operation_name or None, variables, extensions, document_id)


def consistency_token_of(asked: GraphQLRequest, headers: Sequence[str] = ()) -> str | None:
    """Give the token that a request presents, as the extension `consistencyToken` or else in a header.

    Raises:
        BadRequest: there are several, or it is not a text.
    """
    if not headers and not asked.extensions:
        return None
    named = (asked.extensions or {}).get("consistencyToken")
    tokens = [*([named] if named is not None else []), *headers]
    if len(tokens) > 1 or not all(isinstance(token, str) for token in tokens):
        raise BadRequest("Give one consistency token, as a text.")
    return tokens[0] if tokens else None


def decode_object(data: bytes) -> dict[str, Any]:
    """Decode one JSON object in UTF-8, without duplicate keys, NaN or infinities in any spelling; raises BadRequest."""
    try:
        text = data.decode("utf-8")
        value = _parsed(text)
        if "\\" in text and _ESCAPED_SURROGATE in text.lower():
            _refuse_lone_surrogates(value)
    except (ValueError, RecursionError) as error:
        raise BadRequest(_why_unread(error)) from None
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object.")
    return value


def _parsed(text: str) -> Any:
    """Read JSON; that around which nothing stands, which most is, without the decoder's search for blanks."""
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        value, end = None, -1
    return value if end == len(text) else _DECODER.decode(text)  # which says what is wrong, if anything is


def _why_unread(error: ValueError | RecursionError) -> str:
    """Say what is wrong with a body, and where, in words that repeat nothing of it."""
    if isinstance(error, _NotOurs):
        return f"The body {error}."
    if isinstance(error, json.JSONDecodeError):
        return f"The body is not JSON: look at line {error.lineno}, column {error.colno}."
    if isinstance(error, UnicodeDecodeError):
        return f"The body is not UTF-8: look at byte {error.start}."
    if isinstance(error, UnicodeEncodeError):
        return "The body holds half a surrogate pair, which is no character."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply."
    return "The body holds a number of too many digits."


class _NotOurs(ValueError):
    """What Python reads as JSON, and what we do not: the words say what the body does."""


def _refuse_lone_surrogates(value: object) -> None:
    """Raise ValueError for text that is no Unicode: it could be neither stored nor sent back."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _NotOurs("gives a key twice in one object")
    return value


def _refuse(_constant: str) -> NoReturn:
    raise _NotOurs("holds NaN or an infinity, which JSON does not know")


def _finite(digits: str) -> float:
    """Read a number; one such as 1e400 would become infinity, which is no JSON."""
    number = float(digits)
    if math.isinf(number):
        raise _NotOurs("holds too large a number")
    return number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
_SCAN: Final = make_scanner(_DECODER)  # type: ignore[arg-type] # it takes a decoder, whatever its stub says


def _check_encoding(values: Sequence[str]) -> None:
    """Let in what the parser has unpacked, and nothing that it would hand on as it came."""
    if values and (len(values) > 1 or any(value.strip().lower() not in _ENCODINGS for value in values)):
        raise UnknownEncoding


def _check_media_type(values: list[str]) -> None:
    """Compare the whole media type: a form or a text never executes, so that no other site's page can send one."""
    if values == [_MEDIA_TYPE]:
        return
    if len(values) != 1:
        raise UnsupportedMediaType
    media_type, *parameters = (part.strip().lower() for part in values[0].split(";"))
    if media_type != _MEDIA_TYPE or any(p not in ("charset=utf-8", 'charset="utf-8"') for p in parameters):
        raise UnsupportedMediaType
