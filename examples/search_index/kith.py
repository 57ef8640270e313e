"""Kith's GraphQL API, asked as nobody: what it answers, everybody may see."""

from typing import Final

import aiohttp

from examples.search_index.index import Person

_QUERY: Final = "query ($id: ID!) { node(id: $id) { ... on User { id username displayName } } }"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class Unanswered(Exception):
    """Kith does not answer now."""


class Kith:
    """The API at an address."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def fetch_person(self, user_id: str) -> Person | None:
        """Fetch what nobody in particular may see of a person; None where that is nothing.

        Raises:
            Unanswered: ask again later.
        """
        body = {"query": _QUERY, "variables": {"id": user_id}}
        try:
            async with self._session.post(self._url, json=body, timeout=_TIMEOUT) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unanswered(type(error).__name__) from error
        if answer.get("errors"):
            raise Unanswered("an error in the answer")
        node = answer["data"]["node"]
        return Person(node["id"], node["username"], node["displayName"]) if node else None
