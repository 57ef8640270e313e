"""What operations cost: by the directives of the schema, the document and its variables, and by nothing else."""

from typing import Any, Final, cast

import pytest
import strawberry
from graphql import parse, print_ast

from execution.costs import Estimate
from execution.documents import Documents, Prepared
from execution.engine import Engine, GraphQLRequest, Operation
from execution.limits import MAX_COST
from execution.measuring import measure
from schema.costs import Cost, Credential, ListSize, read_costs
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA
from tests.work import calls_of

CONTEXT: Final = OperationContext(cast("Any", None))
ENGINE: Final = Engine(GRAPHQL_SCHEMA, introspection=True)


def prepare(text: str, **variables: object) -> Any:
    return ENGINE.prepare(GraphQLRequest(text, variables=variables), CONTEXT)


def cost_of(text: str, **variables: object) -> tuple[int, int]:
    operation = prepare(text, **variables)
    assert isinstance(operation, Operation), operation
    return operation.estimate.cost, operation.estimate.nodes


@pytest.mark.parametrize(
    ("text", "cost", "nodes"),
    [
        ("{ __typename }", 0, 0),
        ("{ me { id username bio } }", 1, 1),
        ("{ me { id followersCount } }", 2, 1),
        ('{ user(username: "ana") { links { url } } }', 6, 1),
        ("{ me { followers(first: 50) { nodes { id } } } }", 52, 51),
        ("{ me { followers(last: 50) { edges { node { id } } pageInfo { endCursor } } } }", 103, 51),
        ("{ me { followers(first: 50) { totalCount } } }", 3, 1),
        ("{ me { mutualFollowers(first: 2) { nodes { id } } } }", 8, 3),
        ("{ me { followers(first: 10) { nodes { following(first: 10) { nodes { id } } } } } }", 122, 111),
        ('{ users(usernames: ["a", "b", "c"]) { id } }', 3, 3),
        ("{ users(ids: []) { id } }", 0, 0),
        ("{ me { followers(first: 9) { ...P } } } fragment P on FollowerConnection { nodes { id } }", 11, 10),
        ("{ me { followers(first: 9) { ... { nodes { id } } } } }", 11, 10),
        ("{ me { id @skip(if: true) followersCount @skip(if: true) } }", 1, 1),
        ("{ me @include(if: false) { id } }", 0, 0),
        ('mutation { followUser(input: {userId: "x"}) { userErrors { code } } }', 11, 0),
        ("subscription { followReceived { id actor { id } } }", 11, 2),
        ("{ __schema { types { fields { name } } } }", 1, 0),
    ],
)
def test_fields_cost_what_the_schema_says(text: str, cost: int, nodes: int) -> None:
    assert cost_of(text) == (cost, nodes)


PAGES: Final = "query($n: Int, $m: Int) { me { followers(first: $n, last: $m) { nodes { id } } } }"


@pytest.mark.parametrize(
    ("variables", "cost"),
    [({"n": 7}, 9), ({"n": 100}, 102), ({"m": 3}, 5), ({}, 3), ({"n": None}, 3), ({"n": 10**6}, 102), ({"n": -1}, 2)],
)
def test_variables_say_how_long_a_page_is(variables: dict[str, object], cost: int) -> None:
    assert cost_of(PAGES, **variables)[0] == cost


def test_a_list_in_a_variable_counts_its_items() -> None:
    query = "query($ids: [ID!], $names: [String!]) { users(ids: $ids, usernames: $names) { id } }"
    assert cost_of(query, ids=["x"] * 4) == (4, 4)
    assert cost_of(query, names=["a", "b"]) == (2, 2)


MARK: Final = "mutation($in: MarkNotificationsReadInput!) { markNotificationsRead(input: $in) { groups { id } } }"


def test_a_list_inside_an_input_counts_its_items() -> None:
    assert cost_of(MARK, **{"in": {"ids": ["x"] * 20}}) == (30, 20)
    assert cost_of(MARK, **{"in": {"upTo": "x"}}) == (11, 1)
    written = MARK.replace("($in: MarkNotificationsReadInput!)", "($ids: [ID!])").replace("$in", "{ids: $ids}")
    assert cost_of(written, ids=["x"] * 20) == (30, 20)
    assert cost_of(written.replace("($ids: [ID!])", "").replace("$ids", '["a", "b"]')) == (12, 2)


def test_conditions_in_variables_leave_out_what_is_left_out() -> None:
    query = (
        "query($a: Boolean!, $b: Boolean!) { me @include(if: $a) { followersCount @skip(if: $b) ...F @skip(if: $b) } }"
    )
    query += " fragment F on User { followers(first: 5) { nodes { id } } }"
    costs = {(a, b): cost_of(query, a=a, b=b)[0] for a in (True, False) for b in (True, False)}
    assert costs == {(True, False): 8, (True, True): 1, (False, True): 0, (False, False): 0}


def test_what_costs_too_much_is_refused_with_the_cost_and_the_limit() -> None:
    levels = "query($n: Int) { me { followers(first: $n) { nodes { followers(first: $n) { nodes { followers(first: $n) "
    levels += "{ nodes { id } } } } } } } }"
    assert cost_of(levels, n=5)[0] < MAX_COST
    [error] = prepare(levels, n=100)["errors"]
    assert error["extensions"] == {"code": "QUERY_TOO_COMPLEX", "cost": 1_020_202, "limit": MAX_COST}


@pytest.mark.parametrize("name", ["ana", "nobody.at.all", "x" * 500])
def test_the_name_that_is_asked_for_changes_nothing(name: str) -> None:
    query = "query($name: String!) { user(username: $name) { followers(first: 3) { nodes { bio } } } }"
    assert cost_of(query, name=name) == (5, 4)
    assert cost_of(query.replace("$name)", f'"{name}")').replace("($name: String!)", "")) == (5, 4)


def test_one_of_several_operations_costs_what_it_costs() -> None:
    request = GraphQLRequest("query A { me { id } } query B { a: me { id } b: me { id } }", operation_name="B")
    operation = ENGINE.prepare(request, CONTEXT)
    assert isinstance(operation, Operation)
    assert operation.estimate.cost == 2


def test_fragments_are_evaluated_once_however_often_they_are_spread() -> None:
    spreads = 8
    fragments = " ".join(
        f"fragment F{n} on User {{ {f'...F{n + 1} ' * spreads} followersCount @skip(if: $no) bio @skip(if: $no) }}"
        for n in range(40)
    )
    document = parse(f"query($no: Boolean!) {{ me {{ ...F0 }} }} {fragments} fragment F40 on User {{ followersCount }}")
    measured = Documents(GRAPHQL_SCHEMA, introspection=False)
    sizes: list[Estimate] = []

    def estimate() -> None:
        [(_, size)] = measure(document, GRAPHQL_SCHEMA, measured._costs)
        sizes.append(size.formula.of({"no": True}))

    assert calls_of(estimate) < 100_000
    assert sizes[0].cost == 1 + spreads**40


DRY: Final = """
query($dry: Boolean, $no: Boolean! = false) {
  me { followers(first: 50) { nodes { id } } }
  ... @skip(if: $no) { ...F }
  one: rateLimit(dryRun: $dry) { cost }
}
fragment F on Query { viewer { user { id } } two: rateLimit { nodeCount } }
"""


def test_a_dry_run_leaves_nothing_to_execute_but_what_it_would_cost() -> None:
    operation = prepare(DRY, dry=True)
    left = print_ast(operation.build().operation.selection_set).split()
    two = "... @skip(if: $no) { ... on Query { two: rateLimit { nodeCount } } }"
    assert " ".join(left) == f"{{ {two} one: rateLimit(dryRun: $dry) {{ cost }} }}"
    assert (operation.cost, operation.estimate.cost, operation.plan) == (1, 56, None)


@pytest.mark.parametrize("dry", [False, None])
def test_what_is_no_dry_run_is_executed_and_charged_whole(dry: bool | None) -> None:
    operation = prepare(DRY, dry=dry)
    assert (operation.is_dry, operation.cost) == (False, 56)
    assert prepare("{ rateLimit(dryRun: true) { cost } me { id } }").is_dry
    assert not prepare("{ rateLimit(dryRun: false) { cost } dryRun: me { id } }").is_dry


@strawberry.type
class Owner:
    id: strawberry.ID
    pets: list["Owner"]
    few: list["Owner"] = strawberry.field(directives=[ListSize(assumed_size=2), Cost(weight=3)])


@strawberry.type
class Query:
    owner: Owner
    owners: list[Owner]


@strawberry.type
class Mutation:
    sign_in: bool = strawberry.field(directives=[Credential()])
    greet: bool


OTHER: Final = Documents(strawberry.Schema(Query, Mutation)._schema, introspection=False)


def prepared(text: str) -> Prepared | str:
    found = OTHER.get(text)
    return found if isinstance(found, Prepared) else str((found[0].extensions or {})["code"])


@pytest.mark.parametrize(
    ("text", "cost"), [("{ owners { id } }", 10), ("{ owner { pets { id } } }", 11), ("{ owner { few { id } } }", 7)]
)
def test_a_list_that_says_nothing_of_its_size_is_taken_to_have_ten_items(text: str, cost: int) -> None:
    found = prepared(text)
    assert isinstance(found, Prepared)
    assert found.formulas[None].of({}).cost == cost


def test_a_secret_is_tried_once_in_an_operation_however_it_is_written() -> None:
    assert isinstance(prepared("mutation { signIn greet a: greet }"), Prepared)
    for twice in (
        "mutation { signIn a: signIn }",
        "mutation { ...F a: signIn } fragment F on Mutation { signIn }",
        "mutation { ... { signIn } ... @skip(if: true) { b: signIn } }",
    ):
        assert prepared(twice) == "QUERY_TOO_COMPLEX"
    assert isinstance(prepared("mutation A { signIn } mutation B { signIn }"), Prepared)


def test_lists_of_what_has_an_id_say_how_long_they_are() -> None:
    costs = read_costs(GRAPHQL_SCHEMA)
    sized_inside = {cost.inner.name for cost in costs.values() if cost.sizes_inner and cost.inner is not None}
    unsized = {
        key
        for key, cost in costs.items()
        if cost.is_list and cost.is_node and not cost.slicing and cost.assumed is None
    }
    assert {type_name for type_name, _ in unsized} <= sized_inside
