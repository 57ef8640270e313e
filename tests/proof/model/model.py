"""The reference: what everybody is to everybody, in plain dictionaries. No I/O, and nothing of the service in it.

People are numbers in the order of their ids; None is the anonymous viewer. Written from the promises of the API alone.
"""

import dataclasses
from collections import Counter
from typing import Any, Final

Pair = tuple[int, int]
Row = tuple[Any, ...]
OWN_BLOCK: Final = ("blockUser", "unblockUser")
NOWHERE: Final = "nowhere"


@dataclasses.dataclass
class Model:
    """Follows and requests since which step, blocks and mutes until when, and what must have been written of it all."""

    private: list[bool]
    follows: dict[Pair, int] = dataclasses.field(default_factory=dict)
    asks: dict[Pair, int] = dataclasses.field(default_factory=dict)
    blocks: dict[Pair, str | None] = dataclasses.field(default_factory=dict)
    mutes: dict[Pair, str | None] = dataclasses.field(default_factory=dict)
    versions: Counter[frozenset[int]] = dataclasses.field(default_factory=Counter)
    events: list[Row] = dataclasses.field(default_factory=list)  # actor, type, one, two, detail, version
    audit: list[Row] = dataclasses.field(default_factory=list)  # actor, action, target, version
    step: int = 0

    def act(  # noqa: C901, PLR0912 - one case for each action
        self, action: str, me: int, other: int, until: str | None = None
    ) -> str | None:
        """Do something to somebody; gives the code with which the API refuses it."""
        out, back, told = (me, other), (other, me), list[Row]()
        if me == other:
            return "CANNOT_TARGET_SELF"
        if back in self.blocks or (out in self.blocks and action not in OWN_BLOCK):
            return "USER_UNAVAILABLE"
        match action:
            case "followUser" if out not in self.follows and out not in self.asks:
                (self.asks if self.private[other] else self.follows)[out] = self.step
                told = [("follow.requested" if self.private[other] else "follow.created", *out, False)]
            case "acceptFollowRequest" if back not in self.follows:
                if self.asks.pop(back, None) is None:
                    return "REQUEST_NOT_FOUND"
                self.follows[back] = self.step
                told = [("follow.accepted", *back, False), ("follow.created", *back, False)]
            case "rejectFollowRequest" if self.asks.pop(back, None) is not None:
                told = [("follow.rejected", *back, True)]
            case "unfollowUser":
                told = self._cut(out)
            case "cancelFollowRequest" if out in self.asks:
                told = self._cut(out)
            case "removeFollower":
                told = self._cut(back)
            case "blockUser" if self.blocks.get(out, NOWHERE) != until:
                self.blocks[out] = until
                told = [("user.blocked", *out, until), *self._cut(out), *self._cut(back)]
            case "unblockUser" if self.blocks.pop(out, NOWHERE) != NOWHERE:
                told = [("user.unblocked", *out, None)]
            case "muteUser" if self.mutes.get(out, NOWHERE) != until:
                self.mutes[out] = until
                told = [("user.muted", *out, until)]
            case "unmuteUser" if self.mutes.pop(out, NOWHERE) != NOWHERE:
                told = [("user.unmuted", *out, None)]
        self._write(me, other, told)
        return None

    def set_private(self, me: int, private: bool, accept: bool) -> None:
        """Go private or public; who waits is accepted or rejected when the account goes public."""
        if self.private[me] == private:
            return
        self.private[me] = private
        self.versions[frozenset((me,))] += 1
        self.events.append((me, "privacy.updated", me, None, None, 1 + self.versions[frozenset((me,))]))
        self.audit.append((me, "privacy.updated", None, 1 + self.versions[frozenset((me,))]))
        for follower in [one for one, two in self.asks if two == me and not private]:
            self.act("acceptFollowRequest" if accept else "rejectFollowRequest", me, follower)

    def _cut(self, pair: Pair) -> list[Row]:
        was_pending = self.asks.pop(pair, None) is not None
        followed = self.follows.pop(pair, None) is not None
        return [("follow.removed", *pair, was_pending)] if was_pending or followed else []

    def _write(self, me: int, other: int, told: list[Row]) -> None:
        if told:
            silent = told[0][0] in ("user.muted", "user.unmuted")
            version = self.versions[frozenset((me, other))] = self.versions[frozenset((me, other))] + (not silent)
            self.events += [(me, *event, None if silent else version) for event in told]
            self.audit.append((me, told[0][0], other, version))

    def hides(self, viewer: int | None, who: int) -> bool:
        """Tell whether a block stands between the two."""
        return viewer is not None and ((viewer, who) in self.blocks or (who, viewer) in self.blocks)

    def listed(
        self, viewer: int | None, edges: dict[Pair, int], *, to: int | None = None, of: int | None = None
    ) -> Any:
        """Give whom a viewer finds at the other end of somebody's edges, the newest first."""
        found = [(when, one if of is None else two) for (one, two), when in edges.items() if to == two or of == one]
        return [who for _, who in sorted(found, reverse=True) if not self.hides(viewer, who)]

    def person(self, viewer: int | None, who: int, *, stub: bool = False) -> dict[str, Any] | None:
        """Give a person as a viewer must see it; a stub is what the viewer sees of whom the viewer blocks."""
        if not stub and self.hides(viewer, who):
            return None
        mine, state = (viewer, who), {True: "ACTIVE", False: "NONE"}[(viewer, who) in self.follows]
        opened = not stub and (viewer == who or not self.private[who] or mine in self.follows)
        followers, following = self.listed(viewer, self.follows, to=who), self.listed(viewer, self.follows, of=who)
        known = [follower for follower in followers if (viewer, follower) in self.follows]
        return {
            "id": who,
            "isPrivate": self.private[who],
            "viewerFollowState": "PENDING" if mine in self.asks else state,
            "viewerIsFollowing": mine in self.follows,
            "isFollowingViewer": (who, viewer) in self.follows,
            "viewerCanFollow": viewer not in (None, who) and not stub and mine not in {**self.follows, **self.asks},
            "viewerHasBlocked": mine in self.blocks,
            "viewerHasMuted": mine in self.mutes,
            "followersCount": None if stub else len(followers),
            "followingCount": None if stub else len(following),
            "followers": (len(followers), followers) if opened else None,
            "following": (len(following), following) if opened else None,
            "mutualFollowers": (None, known) if opened else None,
        }
