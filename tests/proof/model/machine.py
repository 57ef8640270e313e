"""The state machine: it drives a server over HTTP, and after each step compares what people see with the reference."""

import contextlib
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.proof.model.model import Model, Row
from tests.proof.model.world import NAMES, Data, Mismatch, Person, Tables, World

LATER: Final = "2099-01-01T00:00:00Z"
_SEEN: Final = """
fragment Seen on User {
  id isPrivate viewerFollowState viewerIsFollowing isFollowingViewer viewerCanFollow viewerHasBlocked viewerHasMuted
  followersCount followingCount
  followers(first: 9) { totalCount nodes { id } }
  following(first: 9) { totalCount nodes { id } }
  mutualFollowers(first: 9) { totalCount nodes { id } }
}
"""
_LOOK: Final = f"""
query Look($ids: [ID!]!, $names: [String!]!) {{
  users(ids: $ids) {{ ...Seen }}
  named: users(usernames: $names) {{ id }}
  nodes(ids: $ids) {{ id }}
  viewer {{
    user {{ id }}
    followRequests(first: 9) {{ nodes {{ id }} }}
    sentFollowRequests(first: 9) {{ nodes {{ id }} }}
    blocks(first: 9) {{ nodes {{ ...Seen }} }}
    mutes(first: 9) {{ nodes {{ id }} }}
    followLimit {{ used }}
  }}
}}
{_SEEN}
"""
_ACT: Final = """
mutation Act($input: {input}!) {{ act: {name}(input: $input) {{ user {{ ...Seen }} userErrors {{ code }} }} }}
"""
_PRIVACY: Final = "updatePrivacySettings"
_ACTIONS: Final = (
    "followUser",
    "unfollowUser",
    "blockUser",
    "unblockUser",
    "cancelFollowRequest",
    "acceptFollowRequest",
    "rejectFollowRequest",
    "removeFollower",
    "muteUser",
    "unmuteUser",
)
_WITH_END: Final = ("blockUser", "muteUser")

Pair = tuple[int, int]
Aim = Pair | str
SAME: Final = "the same again"
BACK: Final = "the other way round"

people = st.integers(0, len(NAMES) - 1)
# What matters happens between two who have met before: every other aim is at the pair of the last action.
aims = st.tuples(people, people).filter(lambda pair: pair[0] != pair[1]) | st.sampled_from([SAME, BACK])
ends = st.sampled_from([None, LATER])
seldom = st.integers(0, 3).map(lambda drawn: drawn == 2)


class Machine(RuleBasedStateMachine):
    """Four people who do to each other whatever the API offers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.people: list[Person] = []
        self.model = Model([])
        self.last: tuple[str, int, Data] | None = None
        self.pair: Pair = (0, 1)
        self.is_sound = True
        world.examples += 1

    @initialize(private=st.tuples(*[st.booleans()] * len(NAMES)))
    def meet(self, private: tuple[bool, ...]) -> None:
        self.people = self.world.make_people(private)
        self.model = Model(list(private))

    @rule(aim=aims)
    def follow(self, aim: Aim) -> None:
        self._act("followUser", *self._pair(aim))

    @rule(aim=aims)
    def unfollow(self, aim: Aim) -> None:
        self._act("unfollowUser", *self._pair(aim))

    @rule(aim=aims, until=ends)
    def block(self, aim: Aim, until: str | None) -> None:
        self._act("blockUser", *self._pair(aim), until)

    @rule(aim=aims)
    def unblock(self, aim: Aim) -> None:
        self._act("unblockUser", *self._pair(aim))

    @rule(aim=aims)
    def cancel_request(self, aim: Aim) -> None:
        self._act("cancelFollowRequest", *self._pair(aim))

    @rule(aim=aims)
    def accept_request(self, aim: Aim) -> None:
        self._act("acceptFollowRequest", *self._pair(aim))

    @rule(aim=aims)
    def reject_request(self, aim: Aim) -> None:
        self._act("rejectFollowRequest", *self._pair(aim))

    @rule(aim=aims)
    def remove_follower(self, aim: Aim) -> None:
        self._act("removeFollower", *self._pair(aim))

    @rule(aim=aims, until=ends)
    def mute(self, aim: Aim, until: str | None) -> None:
        self._act("muteUser", *self._pair(aim), until)

    @rule(aim=aims)
    def unmute(self, aim: Aim) -> None:
        self._act("unmuteUser", *self._pair(aim))

    @rule(me=people, private=st.booleans(), waiting=st.sampled_from(["ACCEPT", "REJECT"]))
    def change_privacy(self, me: int, private: bool, waiting: str) -> None:
        self._do(_PRIVACY, me, {"isPrivate": private, "waitingRequests": waiting})

    @rule(me=people, action=st.sampled_from(_ACTIONS))
    def aim_at_oneself(self, me: int, action: str) -> None:
        self._act(action, me, me)

    @rule(me=people, action=st.sampled_from(_ACTIONS), nobody=st.sampled_from(["", "nobody", "A" * 22]))
    def aim_at_nobody(self, me: int, action: str, nobody: str) -> None:
        answer = self._ask(me, _document(action), {"input": {"userId": nobody}})["act"]
        self._compare("nobody", answer, {"user": None, "userErrors": [{"code": "USER_UNAVAILABLE"}]})

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        assert self.last is not None
        self._do(*self.last)

    @rule(aim=aims, action=st.sampled_from(_ACTIONS))
    def lose_the_answer_and_repeat(self, aim: Aim, action: str) -> None:
        me, other = self._pair(aim)
        fields = {"userId": other}
        self.world.ask_and_drop(self.people[me], _document(action), {"input": self._sent(fields)})
        self._apply(action, me, fields)
        self._do(action, me, fields)

    @rule(aim=aims, action=st.sampled_from(_ACTIONS))
    def ask_twice_at_once(self, aim: Aim, action: str) -> None:
        me, other = self._pair(aim)
        fields = {"userId": other}
        with self._judging():
            answers = self.world.ask_twice(self.people[me], _document(action), {"input": self._sent(fields)})
        expected = self._apply(action, me, fields)
        for answer in answers:
            self._compare(f"both answers of {action}", self._answer(answer["act"]), expected)

    @rule(really=seldom, aim=aims, action=st.sampled_from(_ACTIONS), after_ms=st.integers(0, 12))
    def crash_and_repeat(self, really: bool, aim: Aim, action: str, after_ms: int) -> None:
        me, other = self._pair(aim)
        if really and self.world.crashes_left > 0:
            sent = {"input": self._sent({"userId": other})}
            self.world.ask_and_crash(self.people[me], _document(action), sent, after_s=after_ms / 1000)
        self._act(action, me, other)

    @rule()
    def empty_the_cache(self) -> None:
        self.world.redis.flushall()

    @rule(viewer=st.none() | people)
    def look(self, viewer: int | None) -> None:
        self._look(viewer)

    def teardown(self) -> None:
        if self.people and self.is_sound:
            for viewer in (None, *range(len(NAMES))):
                self._look(viewer)
            self._compare_tables(self.world.read_tables(self.people))

    def _pair(self, aim: Aim) -> Pair:
        """Give the actor and the other of an aim."""
        if isinstance(aim, str):
            self.pair = self.pair if aim == SAME else (self.pair[1], self.pair[0])
        else:
            self.pair = aim
        return self.pair

    def _act(self, action: str, me: int, other: int, until: str | None = None) -> None:
        self._do(action, me, {"userId": other, "expiresAt": until} if action in _WITH_END else {"userId": other})

    def _do(self, action: str, me: int, fields: Data) -> None:
        """Do something, over HTTP and in the reference, and look at it with the eyes of those concerned."""
        self.last = (action, me, fields)
        answer = self._ask(me, _document(action), {"input": self._sent(fields)})
        self._compare(f"the answer of {action}", self._answer(answer["act"]), self._apply(action, me, fields))
        # The answer shows how one sees the other; what everybody else sees is looked at now and then, and in the end.
        self._look(fields.get("userId"))

    def _sent(self, fields: Data) -> Data:
        return {**fields, "userId": self.people[fields["userId"]].opaque_id} if "userId" in fields else fields

    def _ask(self, viewer: int | None, document: str, variables: Data) -> Data:
        with self._judging():
            return self.world.ask(None if viewer is None else self.people[viewer], document, variables)

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        """Remember that something is wrong, so that the end of the example does not hide it."""
        try:
            yield
        except Mismatch as mismatch:
            self.is_sound = False
            self.world.mismatches.append(str(mismatch))
            raise

    def _apply(self, action: str, me: int, fields: Data) -> Data:
        """Do it in the reference, and give the answer that must come."""
        self.world.steps += 1
        self.model.step += 1
        if action == _PRIVACY:
            self.model.set_private(me, fields["isPrivate"], fields["waitingRequests"] == "ACCEPT")
            return {"user": self.model.person(me, me), "userErrors": []}
        other = fields["userId"]
        code = self.model.act(action, me, other, fields.get("expiresAt"))
        if code is not None:
            return {"user": None, "userErrors": [{"code": code}]}
        return {"user": self.model.person(me, other, stub=(me, other) in self.model.blocks), "userErrors": []}

    def _answer(self, answer: Data) -> Data:
        return {"user": self._person(answer["user"]), "userErrors": answer["userErrors"]}

    def _look(self, viewer: int | None) -> None:
        """Compare everything that a viewer sees."""
        everybody = {"ids": [p.opaque_id for p in self.people], "names": [p.username for p in self.people]}
        seen, model = self._ask(viewer, _LOOK, everybody), self.model
        people = [model.person(viewer, who) for who in range(len(NAMES))]
        met = [None if person is None else person["id"] for person in people]
        self._compare(f"what {viewer} sees", [self._person(person) for person in seen["users"]], people)
        self._compare(f"whom {viewer} finds by name", [self._number(person) for person in seen["named"]], met)
        self._compare(f"whom {viewer} finds by id", [self._number(person) for person in seen["nodes"]], met)
        self._compare_own(viewer, seen["viewer"])

    def _compare_own(self, viewer: int | None, own: Data | None) -> None:
        model = self.model
        if viewer is None or own is None:
            self._compare("the anonymous viewer's own", (viewer, own), (None, None))
            return
        # Both in the order in which they were set: a dictionary keeps it, and an end that changes does not.
        blocked = [other for me, other in reversed(model.blocks) if me == viewer]
        muted = [other for me, other in reversed(model.mutes) if me == viewer and not model.hides(me, other)]
        found = {
            "user": self._number(own["user"]),
            "followRequests": self._numbers(own["followRequests"]),
            "sentFollowRequests": self._numbers(own["sentFollowRequests"]),
            "blocks": [self._person(node) for node in own["blocks"]["nodes"]],
            "mutes": self._numbers(own["mutes"]),
            "followLimit": own["followLimit"]["used"],
        }
        expected = {
            "user": viewer,
            "followRequests": model.listed(viewer, model.asks, to=viewer),
            "sentFollowRequests": model.listed(viewer, model.asks, of=viewer),
            "blocks": [model.person(viewer, other, stub=True) for other in blocked],
            "mutes": muted,
            "followLimit": len(model.listed(None, model.follows, of=viewer)),
        }
        self._compare(f"what only {viewer} sees", found, expected)

    def _person(self, seen: Data | None) -> Data | None:
        if seen is None:
            return None
        lists = {
            name: None if seen[name] is None else (seen[name]["totalCount"], self._numbers(seen[name]))
            for name in ("followers", "following", "mutualFollowers")
        }
        return {**seen, "id": self._number(seen), **lists}

    def _numbers(self, connection: Data) -> list[int | None]:
        return [self._number(node) for node in connection["nodes"]]

    def _number(self, seen: Data | None) -> int | None:
        return None if seen is None else self._number_of(seen["id"])

    def _number_of(self, opaque_id: str) -> int:
        return [person.opaque_id for person in self.people].index(opaque_id)

    def _compare_tables(self, tables: Tables) -> None:
        numbers = {person.id: number for number, person in enumerate(self.people)}
        rows = {(numbers[row["owner_id"]], numbers[row["other_id"]]): row for row in tables.rows}
        for pair, row in rows.items():
            self._compare(f"the row {pair}", _facts(row), self._expected_row(pair))
            mirror = rows.get((pair[1], pair[0]))
            if mirror is not None:
                self._compare(f"the times of {pair}", row["follows_at"], mirror["followed_by_at"])
        self._compare("rows that must be there", self._must_be_there() - rows.keys(), set())
        counted = {numbers[row["user_id"]]: (row["followers"], row["following"]) for row in tables.counts}
        self._compare("the counters", counted, self._expected_counts())
        audit = [
            (numbers[row["actor_id"]], row["action"], numbers.get(row["target_id"]), row["version"])
            for row in tables.audit
        ]
        # Two of one person may lie in two cells: what is ordered is what one person did to another.
        self._compare("the audit log", _ordered(audit, 2), _ordered(self.model.audit, 2))
        events = [self._event(row) for row in tables.events]
        self._compare("the events", _by_pair(events), _by_pair(self.model.events))

    def _expected_row(self, pair: Pair) -> Data:
        model, back = self.model, (pair[1], pair[0])

        def state(edge: tuple[int, int]) -> int:
            return 2 if edge in model.follows else 1 if edge in model.asks else 0

        return {
            "follows": state(pair),
            "followed_by": state(back),
            "blocks": pair in model.blocks,
            "blocks_until": model.blocks.get(pair),
            "blocked_by": back in model.blocks,
            "blocked_by_until": model.blocks.get(back),
            "mutes": pair in model.mutes,
            "mutes_until": model.mutes.get(pair),
            "version": model.versions[frozenset(pair)],
        }

    def _must_be_there(self) -> set[Pair]:
        changed = [sorted(pair) for pair, version in self.model.versions.items() if version and len(pair) > 1]
        return {*self.model.mutes, *((low, high) for low, high in changed), *((high, low) for low, high in changed)}

    def _expected_counts(self) -> dict[int, tuple[int, int]]:
        edges = self.model.follows
        return {
            who: (len(self.model.listed(None, edges, to=who)), len(self.model.listed(None, edges, of=who)))
            for who in range(len(NAMES))
        }

    def _event(self, row: Any) -> Row:
        payload, actor = json.loads(row["payload"]), self._number_of(row["aggregateid"])
        if row["type"] == "privacy.updated":
            return (actor, row["type"], self._number_of(payload["userId"]), None, None, payload["userVersion"])
        one, two = (
            self._number_of(payload[name])
            for name in ("followerId", "followeeId", "blockerId", "blockedId", "muterId", "mutedId")
            if name in payload
        )
        detail = payload["wasPending"] if "wasPending" in payload else payload["expiresAt"]
        return (actor, row["type"], one, two, detail, payload.get("pairVersion"))

    def _compare(self, what: str, found: object, expected: object) -> None:
        with self._judging():
            if found == expected:
                return
            raise Mismatch(f"{what}:\n  found    {found}\n  expected {expected}")


def _document(action: str) -> str:
    return _ACT.format(name=action, input=f"{action[0].upper()}{action[1:]}Input") + _SEEN


def _facts(row: Any) -> Data:
    facts = {name: value for name, value in row.items() if not name.endswith(("_at", "_id"))}
    return {name: _text(value) if isinstance(value, dt.datetime) else value for name, value in facts.items()}


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ordered(rows: Sequence[Row], other: int) -> dict[Row, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        is_mute = row[1] in ("user.muted", "user.unmuted")
        found[row[0], row[other], is_mute].append(row)
    return dict(found)


def _by_pair(events: Sequence[Row]) -> dict[Row, list[Row]]:
    """Group events by what is ordered: all of a pair, but mutes apart, which are their owner's own affair."""
    found = defaultdict(list)
    for event in events:
        owner = event[0] if event[1] in ("user.muted", "user.unmuted") else None
        found[frozenset(event[2:4]), owner].append(event)
    return dict(found)
