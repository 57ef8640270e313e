"""The one schema, and its text: `python -m schema.schema` writes `schema.graphql`."""

import datetime as dt
import sys
from pathlib import Path
from typing import Final

import strawberry
from strawberry.schema.config import StrawberryConfig

from schema.mutations import Mutation
from schema.notifications import FollowNotification, FollowRequestAcceptedNotification, FollowRequestNotification
from schema.payloads import MutationError
from schema.queries import Query
from schema.scalars import DATE_TIME
from schema.subscriptions import Subscription

SDL_PATH: Final = Path(__file__).with_name("schema.graphql")

SCHEMA: Final = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # reached through their interfaces only
    types=[MutationError, FollowNotification, FollowRequestNotification, FollowRequestAcceptedNotification],
    config=StrawberryConfig(disable_field_suggestions=True, scalar_map={dt.datetime: DATE_TIME}),
)

GRAPHQL_SCHEMA: Final = SCHEMA._schema  # noqa: SLF001 - Strawberry has no public name for it


def sdl() -> str:
    """Print the schema as it is committed."""
    return SCHEMA.as_str().rstrip() + "\n"


def _main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        if SDL_PATH.read_text() == sdl():
            return 0
        sys.stderr.write(
            "schema/schema.graphql is not what the code says: run `python -m schema.schema` and commit it\n"
        )
        return 1
    SDL_PATH.write_text(sdl())
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
