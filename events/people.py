"""The people whom a fact is about, under their internal ids."""

from domain.events import BlockPayload, FollowPayload
from domain.ids import NodeType, OpaqueIds
from events.records import ReceivedEvent, UnreadableRecord


def internal_of(ids: OpaqueIds, opaque_id: str) -> int:
    """Give the internal id behind one that clients and other services hold.

    Raises:
        UnreadableRecord: it was made under another key.
    """
    user_id = ids.decode(NodeType.USER, opaque_id)
    if user_id is None:
        raise UnreadableRecord("an id was made under another key")
    return user_id


def pair_of(ids: OpaqueIds, event: ReceivedEvent) -> tuple[int, int] | None:
    """Give (follower, followee) or (blocker, blocked) of a fact about two people, and None of any other.

    Raises:
        UnreadableRecord: an id was made under another key.
    """
    match event.payload:
        case FollowPayload(follower_id=one, followee_id=other) | BlockPayload(blocker_id=one, blocked_id=other):
            return internal_of(ids, one), internal_of(ids, other)
        case _:
            return None
