"""Documents that attackers send: small to write, and meant to cost much, tell much or confuse."""

from typing import Any, Final

from tests.hostile_validation import DEAR


def fan_out(width: int, levels: int) -> str:
    """Give a short document that spreads to width to the power of levels fields."""
    fragments = " ".join(f"fragment F{n} on User {{ {f'...F{n + 1} ' * width} }}" for n in range(levels))
    return f"{{ me {{ ...F0 }} }} {fragments} fragment F{levels} on User {{ id }}"


def tower(levels: int, width: int) -> str:
    """Give fragments inside fields inside fragments: no visitor that knows each fragment once per level is saved."""
    inside = " ".join(f"a{n}: followers(first: 1) {{ nodes {{ ...F%d }} }}" for n in range(width))
    fragments = " ".join(f"fragment F{n} on User {{ {inside.replace('%d', str(n + 1))} }}" for n in range(levels))
    return f"{{ me {{ ...F0 }} }} {fragments} fragment F{levels} on User {{ id }}"


def nested(inner: str, times: int, field: str = "followers(first: 1) { nodes") -> str:
    """Give one field inside itself."""
    closing = "}" * field.count("{") + "}"
    return "{ me { " + f"{field} {{ " * times + inner + f" {closing}" * times + " } }"


def aliases(count: int, field: str = "__typename") -> str:
    """Give one field under many names."""
    return " ".join(f"a{number}: {field}" for number in range(count))


_SIX: Final = "me { followers(first: 1) { nodes { following(first: 1) { nodes { id } } } } } "
_FOLLOW: Final = 'followUser(input: {userId: "x"}) { clientMutationId }'

HOSTILE: Final = {
    "a syntax error": "{ me { id }",
    "the schema": "{ __schema { types { fields { type { ofType { ofType { name } } } } } } }",
    "the schema, deep": "{ __schema { types { " + "fields { type { " * 12 + "name" + " } }" * 12 + " } } }",
    "a type": '{ __type(name: "User") { fields { name } } }',
    "5,000 open braces": "{" + "a{" * 5000,
    "300 nested fields": "{" + "a{" * 300 + "b" + "}" * 301,
    "fan-out 3 wide, 12 deep": fan_out(3, 12),
    "fan-out 8 wide, 20 deep": fan_out(8, 20),
    "fan-out 2 wide, 60 deep": fan_out(2, 60),
    "fan-out 1 wide, 200 deep": fan_out(1, 150),
    "fields and fragments by turns, 2 wide": tower(5, 2),
    "fields and fragments by turns, 6 wide": tower(4, 6),
    "fields and fragments by turns, deep": tower(30, 1),
    "a fragment of itself": "{ me { ...A } } fragment A on User { ...A }",
    "two fragments of each other": "{ me { ...A } } fragment A on User { ...B } fragment B on User { ...A }",
    "a ring of 60 fragments": "{ me { ...F0 } } "
    + " ".join(f"fragment F{n} on User {{ ...F{(n + 1) % 60} }}" for n in range(60)),
    "fragments that all spread all": "{ me { ...F0 } } "
    + " ".join(f"fragment F{n} on User {{ {' '.join(f'...F{m}' for m in range(14))} }}" for n in range(14)),
    "100 unused fragments": "{ me { id } } " + " ".join(f"fragment F{n} on User {{ id }}" for n in range(100)),
    "100 aliases": f"{{ {aliases(100)} }}",
    "aliases that clash": "{ " + " ".join(f'a: user(username: "p{n}") {{ id }}' for n in range(90)) + " }",
    "aliases of people": "{ " + aliases(80, 'user(username: "star") { id }') + " }",
    "20 mutations": f"mutation {{ {aliases(20, _FOLLOW)} }}",
    "one field 450 times": "{ " + "__typename " * 450 + "}",
    "one object 200 times": "{ " + "me { id } " * 200 + "}",
    "one deep field 40 times": "{ " + _SIX * 40 + "}",
    "one deep field 50 times, in fragments": "{ " + "...A " * 50 + "} fragment A on Query { " + _SIX * 20 + "}",
    "inline fragments in inline fragments": "{ me { " + "... on User { " * 250 + "id" + " }" * 250 + " } }",
    "100 inline fragments": "{ me { " + "... on User { id } " * 100 + "} }",
    "a condition on each field": "{ me { " + "id @include(if: true) " * 120 + "} }",
    "a directive 150 times": "{ me { id " + "@skip(if: false) " * 150 + "} }",
    "an unknown directive 300 times": "{ me { id " + "@x " * 300 + "} }",
    "deferred": "{ me { ... @defer { id } } }",
    "streamed": "{ users(usernames: []) @stream { id } }",
    "a wide tree": nested("id", 3, "followers(first: 100) { nodes"),
    "a deep tree": nested("id", 8),
    "a page beyond": "{ me { followers(first: 99999999) { totalCount } } }",
    "a page below": "{ me { followers(first: -1) { totalCount } } }",
    "both ends": "{ me { followers(first: 1, last: 1) { totalCount } } }",
    "a number beyond an int": "{ me { followers(first: 2147483648) { totalCount } } }",
    "a number of 60,000 digits": "{ me { followers(first: " + "9" * 60_000 + ") { totalCount } } }",
    "infinity": "{ me { followers(first: 1e999) { totalCount } } }",
    "an id of 60,000 characters": '{ node(id: "' + "x" * 60_000 + '") { id } }',
    "a list of lists": "{ users(ids: " + "[" * 300 + "]" * 300 + ") { id } }",
    "900 ids": "{ users(ids: [" + "1 " * 900 + "]) { id } }",
    "objects in objects": "{ node(id: " + "{a: " * 200 + "1" + "}" * 200 + ") { id } }",
    "300 variables": "query(" + " ".join(f"$v{n}: ID" for n in range(240)) + ") { me { id } }",
    "a variable 200 times": "query(" + "$v: ID " * 200 + ") { me { id } }",
    "a list type 400 deep": "query($v: " + "[" * 400 + "ID" + "]" * 400 + ") { me { id } }",
    "100 operations": " ".join(f"query Q{n} {{ me {{ id }} }}" for n in range(100)),
    "100 operations of one name": "query Q { me { id } } " * 100,
    "two roots of a subscription": "subscription { a: followReceived { id } b: followReceived { id } }",
    "type definitions": "type A { b: Int } " * 120,
    "a comment": "#" + "x" * 65_000 + "\n{ me { id } }",
    "60,000 comments": "#\n" * 30_000 + "{ me { id } }",
    "a string": '{ user(username: "' + "x" * 65_000 + '") { id } }',
    "a string of escapes": '{ user(username: "' + "\\u0041" * 10_000 + '") { id } }',
    "a block string of quotes": '{ user(username: """' + '\\"""' * 15_000 + '""") { id } }',
    "a block string of lines": '{ user(username: """' + "\n " * 30_000 + '""") { id } }',
    "a name": "{ " + "x" * 65_000 + " }",
    "space": " " * 65_000 + "{ me { id } }",
    "commas": "{" + "," * 65_000 + "me { id } }",
    "null characters": "{ me { id\0 } }",
    "a byte order mark in the middle": "{ me \ufeff{ id } }",
    "direction marks": "{ me { id\u202e\u2066 } }",
    "a million characters": "#" + "x" * 1_000_000 + "\n{ me { id } }",
    **DEAR,
}

_SETTINGS: Final = "mutation($i: UpdatePrivacySettingsInput!) { updatePrivacySettings(input: $i) { user { id } } }"
_PROFILE: Final = "mutation($i: UpdateProfileInput!) { updateProfile(input: $i) { userErrors { code } } }"
_PEOPLE: Final = "query($v: [ID!]) { users(ids: $v) { id } }"
HOSTILE_VARIABLES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "2,500 audiences": (_SETTINGS, {"i": {"audiences": [{"group": "BIO", "audience": "PUBLIC"}] * 2500}}),
    "4,000 links": (_PROFILE, {"i": {"links": [{"label": "a", "url": "b"}] * 4000}}),
    "4,500 people": (_SETTINGS, {"i": {"deny": ["A" * 22] * 4500}}),
    "30,000 ids": (_PEOPLE, {"v": [""] * 30_000}),
    "60,000 numbers for ids": (_PEOPLE, {"v": [1] * 60_000}),
    "20,000 objects for ids": (_PEOPLE, {"v": [{}] * 20_000}),
    "600 objects for ids": (_PEOPLE, {"v": [{"a": 1}] * 600}),
    "8,000 that nobody asked for": ("{ me { id } }", {f"v{number}": number for number in range(8000)}),
    "lists in lists": (_PEOPLE, {"v": [[[[1] * 10] * 10] * 10] * 10}),
}
"""Values of variables that attackers send, with what they are for."""
