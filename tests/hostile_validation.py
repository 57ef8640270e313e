"""Documents that are dear to validate: many pairs to compare, much to look up, many errors to find."""

from collections.abc import Callable
from typing import Final


def many(count: int, write: Callable[[int], str]) -> str:
    """Write something so many times, each with its number."""
    return " ".join(write(number) for number in range(count))


def inside(levels: int, beside: Callable[[str], str], inner: str = "id") -> str:
    """Write fields inside fields."""
    return inner if levels == 0 else beside(inside(levels - 1, beside, inner))


def _page(inner: str) -> str:
    return f"f: followers(first: 1) {{ nodes {{ {inner} }} }}"


def _chain(length: int, also: str = "") -> str:
    return many(length, lambda n: f"fragment F{n} on Query {{ ...F{n + 1} {also} }}") + (
        f" fragment F{length} on Query {{ __typename }}"
    )


def _spread_of_all(count: int, inner: str) -> str:
    fragments = many(count, lambda n: f"fragment F{n} on User {{ {inner} }}")
    return "{ me { " + many(count, lambda n: f"...F{n}") + " } } " + fragments


DEAR: Final = {
    "one field 200 times": "{ " + "__typename " * 200 + "}",
    "one field 190 times, in three fragments": "{ ...A ...B ...C } "
    + " ".join(f"fragment {name} on Query {{ {'__typename ' * 63} }}" for name in "ABC"),
    "four fields 85 times": "{ me { " + "id bio username location " * 85 + "} }",
    "50 objects of four fields": "{ " + "me { id bio username displayName } " * 50 + "}",
    "50 objects of objects": "{ " + "me { followers(first: 1) { totalCount } } " * 50 + "}",
    "50 objects with arguments": "{ " + 'user(username: "star") { id } ' * 50 + "}",
    "objects that differ in the last argument": "{ "
    + many(50, lambda n: f'user(username: "star", id: "{n}") {{ id }}')
    + "}",
    "fields with long lists as arguments": "{ " + ("a: users(ids: [" + "1 " * 12 + "]) { id } ") * 45 + "}",
    "fields with deep objects as arguments": "{ "
    + ("a: node(id: " + "{a: " * 12 + "1" + "}" * 12 + ") { id } ") * 22
    + "}",
    "fields twice at each level": "{ me { " + inside(5, lambda inner: f"{_page(inner)} {_page(inner)}") + " } }",
    "fragments that are compared": _spread_of_all(40, "id username bio location"),
    "105 fragments that are compared": _spread_of_all(105, "id"),
    "fragments that share one": _spread_of_all(55, "id ...G") + " fragment G on User { bio location }",
    "fragments of objects that are compared": "{ "
    + many(25, lambda n: f"me {{ ...F{n} }}")
    + " }"
    + many(25, lambda n: f" fragment F{n} on User {{ {_page('id')} }}"),
    "objects that spread a fragment each": "{ "
    + many(50, lambda n: f"me {{ ...F{n} }}")
    + " }"
    + many(50, lambda n: f" fragment F{n} on User {{ id bio }}"),
    "objects that spread one chain": "{ "
    + "me { ...F0 } " * 50
    + "}"
    + many(55, lambda n: f" fragment F{n} on User {{ ...F{n + 1} }}")
    + " fragment F55 on User { id }",
    "25 operations over a chain of 40": many(25, lambda n: f"query Q{n} {{ ...F0 }}") + _chain(40, "me { id }"),
    "45 operations over a chain of 75": many(45, lambda n: f"query Q{n} {{ ...F0 }}") + _chain(75),
    "14 operations over a chain of 20": many(14, lambda n: f"query Q{n} {{ ...F0 }}") + _chain(20, "me { id }"),
    "80 operations with unused variables": many(80, lambda n: f"query Q{n}($a: ID $b: ID) {{ me {{ id }} }}"),
    "150 variables that are used": "query("
    + many(150, lambda n: f"$v{n}: ID!")
    + ") { users(ids: ["
    + many(150, lambda n: f"$v{n}")
    + "]) { id } }",
    "a variable used 900 times": "query($v: ID!) { users(ids: [" + "$v " * 900 + "]) { id } }",
    "a deep default": "query($v: [ID] = " + "[" * 300 + "1" + "]" * 300 + ") { me { id } }",
    "unknown fields": "{ " + many(400, lambda n: f"x{n}") + " }",
    "unknown fields of long names": "{ " + many(300, lambda n: "x" * 200 + str(n)) + " }",
    "unknown fields near a known one": "{ me { " + many(400, lambda n: f"followersCoun{n}") + " } }",
    "unknown types": many(150, lambda n: f"fragment F{n} on T{n} {{ id }}") + " { me { id } }",
    "unknown fragments": "{ me { " + many(400, lambda n: f"...N{n}") + " } }",
    "unknown arguments": "{ me(" + many(300, lambda n: f"a{n}: 1") + ") { id } }",
    "one argument 300 times": "{ user(" + 'username: "a" ' * 300 + ") { id } }",
    "unknown input fields": "mutation { followUser(input: {"
    + many(300, lambda n: f"f{n}: 1")
    + "}) { clientMutationId } }",
    "directives of 300 names": "{ me { id " + many(300, lambda n: f"@d{n}") + " } }",
    "100 directives": "{ me { " + "id @include(if: true) " * 100 + "} }",
    "conflicts in all pairs": "{ me { " + many(50, lambda n: f"x: followers(first: {n + 1}) {{ totalCount }}") + " } }",
    "conflicts deep inside": "{ " + many(30, lambda n: f"me {{ {_page('x: id' if n % 2 else 'x: bio')} }}") + " }",
    "leaves that are no objects": "{ me { " + "id { a } " * 140 + "} }",
    "objects that are no leaves": "{ " + "me " * 200 + "}",
    "types that turn": "{ node(id: 1) { " + "... on User { ... on Node { " * 60 + "id " + "} } " * 60 + "} }",
    "90 looks at a type": "{ " + many(90, lambda n: f'a{n}: __type(name: "User") {{ name }}') + " }",
    "40 roots of a subscription": "subscription { "
    + "...A " * 40
    + "} fragment A on Subscription { followReceived { id } notificationReceived { id } }",
    "a string of surrogates": '{ user(username: "' + "\\uD83D\\uDE00" * 5000 + '") { id } }',
    "a string of half surrogates": '{ user(username: "' + "\\uD83D" * 9000 + '") { id } }',
    "a string of wide escapes": '{ user(username: "' + "\\u{1F600}" * 6000 + '") { id } }',
    "combining marks": '{ user(username: "a' + "\u0301" * 60_000 + '") { id } }',
    "a block string of growing indents": '{ user(username: """\n'
    + "\n".join(" " * n for n in range(350))
    + 'x""") { id } }',
    "a block string without end": '{ user(username: """' + '""' * 30_000,
    "numbers of 300 digits": "{ users(ids: [" + ("9" * 300 + " ") * 200 + "]) { id } }",
    "a fraction of 60,000 digits": "{ me { followers(first: 1." + "9" * 60_000 + ") { totalCount } } }",
    "an exponent of 60,000 digits": "{ me { followers(first: 1e" + "9" * 60_000 + ") { totalCount } } }",
    "a syntax error behind 60,000 lines": "\n" * 60_000 + "{ me { id } ",
    "carriage returns": "\r" * 65_000 + "{ me { id } }",
    "comments between fields": "{ me { " + ("id # " + "y" * 100 + "\n") * 450 + "} }",
    "a union of 400": "union U = " + "| A " * 400,
}
