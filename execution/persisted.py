"""Documents that are named instead of sent: by a hash that clients keep them under, or by the operator's manifest."""

import collections
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from domain.errors import KithError
from execution.documents import MAX_REMEMBERED_CHARACTERS
from execution.engine import GraphQLRequest

MAX_KEPT: Final = 1000
MAX_KEPT_CHARACTERS: Final = 4 * 1024 * 1024
TRUSTED_PREFIX: Final = "sha256:"
EXTENSION: Final = "persistedQuery"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_VERSION: Final = 1


class DocumentRefused(KithError):
    """`documentId` or `extensions.persistedQuery` is not as it should be."""

    code = "BAD_REQUEST"


class DocumentNotTrusted(DocumentRefused):
    """This server runs only the documents of its manifest, by `documentId`."""

    code = "DOCUMENT_NOT_TRUSTED"


class NotFound(DocumentRefused):
    """PersistedQueryNotFound"""

    code = "PERSISTED_QUERY_NOT_FOUND"


class NotSupported(DocumentRefused):
    """PersistedQueryNotSupported"""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"


class Store(Protocol):
    """Where all processes of the service keep documents; it may lose them, and give others."""

    async def fetch(self, sha256: str) -> bytes | None:
        """Give what may be the document of a hash."""

    async def keep(self, sha256: str, document: bytes) -> None:
        """Keep a document."""


def hash_of(document: str) -> str:
    """Give the SHA-256 of a document's UTF-8, in hexadecimal digits."""
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()


def document_named_by(request: GraphQLRequest) -> str:
    """Give the hash of the document of a request that was found runnable, whether it was sent or named."""
    if request.document_id is not None:
        return request.document_id.removeprefix(TRUSTED_PREFIX)
    return _hash_in(request.extensions) or hash_of(request.query)


class PersistedDocuments:
    """Puts the document into a request that names one. Only what was found to be runnable is ever kept."""

    def __init__(self, store: Store, trusted: Mapping[str, str], *, only_trusted: bool = False) -> None:
        self._store = store
        self._trusted = trusted
        self._only_trusted = only_trusted
        self._kept: collections.OrderedDict[str, str] = collections.OrderedDict()
        self._characters = 0

    def is_at_hand(self, request: GraphQLRequest) -> bool:
        """Tell whether a request holds its document itself, and may: nothing has to be found."""
        return request.document_id is None and request.extensions is None and not self._only_trusted

    async def find(self, request: GraphQLRequest) -> GraphQLRequest:
        """Give the request with its document.

        Raises:
            DocumentRefused: there is no such document, or it may not be asked for in this way.
        """
        if request.own:
            return request
        persisted = _hash_in(request.extensions)
        if request.document_id is not None:
            return self._find_trusted(request, persisted)
        if self._only_trusted:
            raise NotSupported if persisted is not None else DocumentNotTrusted
        if persisted is None:
            return request
        return msgspec.structs.replace(request, query=await self._find_kept(persisted, request.query))

    async def keep(self, request: GraphQLRequest) -> None:
        """Keep the document of a request that can be run, where its client sends both it and its hash.

        A client does so when it was told that there is none, so that what the store has lost comes back to it.
        """
        sha256 = _hash_in(request.extensions)
        if sha256 is None or not request.query or request.own or request.document_id is not None:
            return
        if len(request.query) <= MAX_REMEMBERED_CHARACTERS:
            self._remember(sha256, request.query)
            await self._store.keep(sha256, request.query.encode())

    def _find_trusted(self, request: GraphQLRequest, persisted: str | None) -> GraphQLRequest:
        if request.query or persisted is not None:
            raise DocumentRefused("Give exactly one of `query` and `documentId`.")
        document = self._trusted.get(request.document_id or "")
        if document is None:
            raise DocumentNotTrusted
        return msgspec.structs.replace(request, query=document)

    async def _find_kept(self, sha256: str, given: str) -> str:
        known = self._kept.get(sha256)
        if known is not None:
            self._kept.move_to_end(sha256)
        if given:
            if given != known and hash_of(given) != sha256:
                raise DocumentRefused("`sha256Hash` is not the hash of the query.")
            return given
        if known is None:
            known = await self._fetch(sha256)
        return known

    async def _fetch(self, sha256: str) -> str:
        found = await self._store.fetch(sha256)
        if found is None or hashlib.sha256(found).hexdigest() != sha256:
            raise NotFound
        document = found.decode()
        self._remember(sha256, document)
        return document

    def _remember(self, sha256: str, document: str) -> None:
        if self._kept.setdefault(sha256, document) is document:
            self._characters += len(document)
        while len(self._kept) > MAX_KEPT or self._characters > MAX_KEPT_CHARACTERS:
            _, oldest = self._kept.popitem(last=False)
            self._characters -= len(oldest)


def _hash_in(extensions: Mapping[str, Any] | None) -> str | None:
    """Read the hash of `extensions.persistedQuery`; None where there is none."""
    asked = extensions.get(EXTENSION) if extensions is not None else None
    if asked is None:
        return None
    if not isinstance(asked, dict) or type(asked.get("version")) is not int:
        raise DocumentRefused("`persistedQuery` has the form `{version: 1, sha256Hash: …}`.")
    if asked["version"] != _VERSION:
        raise NotSupported
    sha256 = asked.get("sha256Hash")
    if not isinstance(sha256, str) or not _HASH.fullmatch(sha256):
        raise DocumentRefused("`sha256Hash` has 64 hexadecimal digits in lower case.")
    return sha256
