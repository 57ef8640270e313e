"""Plans: which fields can be planned, when a plan is compiled, how many are kept, and how each is run."""

import asyncio
import random
from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    get_nullable_type,
    is_input_object_type,
    is_non_null_type,
    is_object_type,
    parse,
    validate,
)
from graphql.execution.values import VariableValues
from strawberry.types.arguments import convert_arguments

from domain.waiting import Begun, begin
from execution.documents import MAX_REMEMBERED_CHARACTERS
from execution.engine import Engine, GraphQLRequest, Operation, PlanMode
from execution.executing import execute_plan
from execution.levels import Run
from execution.metrics import OPERATIONS, SHADOWED
from execution.plan import MAX_ENTRIES, Plan, Unplannable
from execution.planner import compile_plan
from execution.plans import MAX_OPERATIONS, MAX_VARIANTS, NEW, Plans, outline_of
from execution.tallies import publish
from schema import seam
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA
from schema.seam import NoSeam, read_seam
from tests.proof.plans.comparing import Compiled, compare
from tests.proof.plans.torture import GRAPHQL, World

NOTHING = VariableValues({}, {})
UNPLANNABLE: dict[str, str] = {}
"""The fields that only graphql-core can run, and why: so far there are none."""


def plan_of(text: str) -> Plan:
    outline = outline_of(GRAPHQL, parse(text), None)
    assert outline is not None
    return compile_plan(outline, NOTHING)


async def run(text: str, world: World | None = None) -> ExecutionResult:
    result = execute_plan(plan_of(text), OperationContext(world or World()), object(), NOTHING)  # type: ignore[arg-type]
    return result if isinstance(result, ExecutionResult) else await result


def ran(what: str) -> float:
    publish()
    return float(OPERATIONS.labels(what)._value.get())


def prepared(engine: Engine, text: str, **variables: Any) -> Operation:
    request = GraphQLRequest(text, variables=variables)
    operation = engine.prepare(request, OperationContext(World()))  # type: ignore[arg-type]
    assert isinstance(operation, Operation)
    return operation


INPUTS = {"followUser", "unfollowUser", "blockUser", "unblockUser", "muteUser"}
"""Some of the mutations whose inputs are of leaves alone."""
LEFT: Any = object()
"""What stands for the arguments that have more than leaves."""


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_arguments_are_made_as_strawberry_makes_them_and_inputs_of_leaves_without_it(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, made = random.Random(f"{share}"), set()
    monkeypatch.setattr(seam, "convert_arguments", lambda *_given, **_how: LEFT)
    for type_ in ("Mutation", "Query", "User"):
        for name, field in GRAPHQL_SCHEMA.type_map[type_].fields.items():  # type: ignore[attr-defined]
            own = read_seam(GRAPHQL_SCHEMA, field)
            given = {key: given_for(argument.type, chance, share) for key, argument in field.args.items()}
            converted = own.convert(given)
            if converted is not LEFT:
                schema = GRAPHQL_SCHEMA._strawberry_schema  # type: ignore[attr-defined]
                arguments = field.extensions["strawberry-definition"].arguments
                whole = convert_arguments(given, arguments, schema.schema_converter.scalar_registry, schema.config)
                assert converted == whole
                made.add(name)
    assert made >= INPUTS


def given_for(type_: Any, chance: random.Random, share: float) -> Any:
    """Give a value as graphql-core leaves it, with so many of what may be left out."""
    required = is_non_null_type(type_)
    type_ = get_nullable_type(type_)
    if not is_input_object_type(type_):
        return object() if required or chance.random() < share else None
    given = {name: given_for(field.type, chance, share) for name, field in type_.fields.items()}
    is_needed = {name: is_non_null_type(field.type) for name, field in type_.fields.items()}
    return {name: value for name, value in given.items() if is_needed[name] or chance.random() < share}


def test_every_field_of_the_schema_can_be_planned_or_is_listed_with_a_reason() -> None:
    found = {}
    for name, type_ in GRAPHQL_SCHEMA.type_map.items():
        if name.startswith("__") or not is_object_type(type_):
            continue
        for field_name, field in type_.fields.items():
            try:
                read_seam(GRAPHQL_SCHEMA, field)
            except NoSeam as reason:
                found[f"{name}.{field_name}"] = str(reason)
    assert found == UNPLANNABLE


async def test_a_query_whose_functions_need_not_wait_is_answered_without_awaiting() -> None:
    plan = plan_of("{ person(n: 9) { n friends { n bestie { n } } } people { echo } }")
    result = execute_plan(plan, OperationContext(World()), object(), NOTHING)  # type: ignore[arg-type]
    assert isinstance(result, ExecutionResult)


async def test_an_operation_that_waits_for_nothing_is_answered_when_it_begins() -> None:
    engine = Engine(GRAPHQL, introspection=True)
    first, _, third = [prepared(engine, "{ rock { weight } }") for _ in range(3)]
    assert third.begin() == await first.run()


async def test_a_field_is_asked_once_for_all_objects_of_a_level() -> None:
    world = World()
    await run("{ people(count: 5) { friends(first: 0) { n } } }", world)
    assert World().budget - world.budget == 1 + 5


async def test_after_a_failed_mutation_that_may_not_be_null_no_further_one_runs() -> None:
    world = World()
    result = await run("mutation { a: put(n: 1) b: strictPut(n: 4) c: put(n: 2) }", world)
    assert (result.data, world.log) == (None, [1, 4])


async def test_mutations_run_one_after_another() -> None:
    world = World()
    await run("mutation { a: add(n: 1) { n } b: add(n: 2) { n } }", world)
    assert world.log == [("begins", 1), ("ends", 1), ("begins", 2), ("ends", 2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ __schema { types { name } } }", "introspection"),
        ("{ person { n @tagged } }", "directive"),
        ("query @tagged { person { n } }", "operation"),
        ("{ " + " ".join(f"a{n}: rock {{ weight }}" for n in range(MAX_ENTRIES)) + " }", "size"),
    ],
)
def test_what_a_plan_cannot_express_is_left_to_graphql_core(text: str, reason: str) -> None:
    with pytest.raises(Unplannable, match=reason):
        plan_of(text)


async def test_a_plan_is_compiled_when_its_document_comes_for_the_second_time() -> None:
    engine = Engine(GRAPHQL, introspection=True)
    before = ran("plan"), ran(NEW)
    assert prepared(engine, "{ rock { weight } }").plan is None
    assert prepared(engine, "{ rock { weight } }").plan is not None
    assert (ran("plan"), ran(NEW)) == (before[0] + 1, before[1] + 1)


async def test_a_plan_keeps_nothing_of_the_requests_that_it_answered() -> None:
    engine = Engine(GRAPHQL, introspection=True)
    text = "query ($n: Int) { person(n: $n) { echo(x: $n) } }"
    answers = [await prepared(engine, text, n=number).run() for number in (7, 8, 9, 8)]
    assert [answer["data"]["person"]["echo"][:3] for answer in answers] == ["7 7", "8 8", "9 9", "8 8"]


ECHOED = [
    ("$m: Boolean", "echo(x: 1, color: GREEN, must: $m)", True),
    ("$m: Boolean, $w: [String!]", "echo(must: $m, names: $w)", True),
    ('$m: Boolean, $d: [String!] = ["d"]', "echo(must: $m, names: $d, x: 4)", True),
    ("$m: Boolean", 'echo(names: ["a"], must: $m)', False),
    ("$m: Boolean", "echo(must: $m, f: { least: 2 })", False),
    ("$m: Boolean, $x: Int", "echo(x: $x, must: $m)", True),
    ("$y: Int!", "strictEcho(x: $y, f: { least: 2 })", False),
]
"""Variables and arguments, and whether functions get the values as they are, where none may be null and is."""
VALUES: list[dict[str, Any]] = [
    {"m": True, "x": 3, "y": 3, "w": ["a", "b"]},
    {"m": None, "x": 5, "y": 5, "w": None},
    {"x": None, "w": [], "d": None},
    {"m": False, "w": "one", "d": ["e"]},
    {},
]


@pytest.mark.parametrize(("declared", "arguments", "plainly"), ECHOED, ids=[case[1] for case in ECHOED])
async def test_arguments_are_what_graphql_core_makes_of_them(
    declared: str, arguments: str, plainly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = parse(f"query ({declared}) {{ person(n: 8) {{ {arguments} }} }}")
    assert validate(GRAPHQL, document) == []
    compiled = Compiled()
    for variables in VALUES:
        assert await compare(GRAPHQL, document, variables, World, compiled) is None
    monkeypatch.setattr("execution.levels.get_argument_values", None)
    is_same = await compare(GRAPHQL, document, VALUES[0], World, compiled) is None
    assert is_same is plainly


@pytest.mark.parametrize("after", [{"after": None}, {}])
def test_a_page_that_is_asked_for_by_variables_costs_no_coercion(
    after: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outline = outline_of(
        GRAPHQL_SCHEMA,
        parse("query ($after: String) { me { followers(first: 5, after: $after) { nodes { id } } } }"),
        None,
    )
    assert outline is not None
    plan = compile_plan(outline, NOTHING)
    entry = plan.roots[0].entries[0].branches[GRAPHQL_SCHEMA.type_map["User"]].entries[0]  # type: ignore[index]
    monkeypatch.setattr("execution.levels.get_argument_values", None)
    run = Run(plan, OperationContext(World()), None, VariableValues({}, after))  # type: ignore[arg-type]
    assert run.arguments(entry) == {"first": 5, "after": None, "last": None, "before": None, "order_by": None}


def test_plans_can_be_switched_off() -> None:
    engine = Engine(GRAPHQL, introspection=True, plans=PlanMode.OFF)
    assert [prepared(engine, "{ rock { weight } }").plan for _ in range(3)] == [None] * 3


async def test_in_the_shadow_graphql_core_answers_and_a_difference_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(GRAPHQL, introspection=True, plans=PlanMode.SHADOW)
    agreed, differed = SHADOWED.labels("none"), SHADOWED.labels("data")
    before = agreed._value.get(), differed._value.get()
    for _ in range(2):
        answer = await prepared(engine, "{ person(n: 3) { n } }").run()
    monkeypatch.setattr("execution.engine.execute_plan", lambda *_: ExecutionResult({"secret": "datum"}, None))
    answer = await prepared(engine, "{ person(n: 3) { n } }").run()
    assert answer == {"data": {"person": {"n": 3}}}
    assert (agreed._value.get(), differed._value.get()) == (before[0] + 1, before[1] + 1)
    assert "differs from graphql-core: data" in caplog.text
    assert "datum" not in caplog.text


async def test_in_the_shadow_a_mutation_runs_once() -> None:
    engine = Engine(GRAPHQL, introspection=True, plans=PlanMode.SHADOW)
    text, world = "mutation { put(n: 1) }", World()
    for _ in range(2):
        operation = engine.prepare(GraphQLRequest(text), OperationContext(world))  # type: ignore[arg-type]
        assert isinstance(operation, Operation)
        await operation.run()
    assert world.log == [1, 1]


def test_plans_are_bounded_in_number_and_large_documents_are_not_known_at_all() -> None:
    plans = Plans(GRAPHQL)
    first = parse("{ rock { weight } }")
    assert [plans.know(first, None) is None, plans.know(first, None) is None] == [True, False]
    documents = [parse("{ rock { weight } }") for _ in range(MAX_OPERATIONS)]
    for document in documents:
        plans.know(document, None)
    assert plans.know(first, None) is None
    large = parse("{ rock { weight } }" + " " * MAX_REMEMBERED_CHARACTERS)
    assert [plans.know(large, None), plans.know(large, None)] == [None, None]


def test_the_size_of_all_plans_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.plans.MAX_BYTES", 20_000)
    plans = Plans(GRAPHQL)
    documents = [parse("{ rock { weight } }") for _ in range(5)]
    for document in [*documents, *documents]:
        known = plans.know(document, None)
        if known is not None:
            assert isinstance(plans.find(known, NOTHING), Plan)
    assert plans._bytes <= 20_000
    assert len(plans._known) < len(documents)


def test_of_an_operation_with_many_conditions_only_some_variants_are_compiled() -> None:
    plans = Plans(GRAPHQL)
    names = [f"c{number}" for number in range(6)]
    fields = " ".join(f"a{name}: weight @include(if: ${name})" for name in names)
    document = parse(f"query ({' '.join(f'${name}: Boolean!' for name in names)}) {{ rock {{ weight {fields} }} }}")
    plans.know(document, None)
    known = plans.know(document, None)
    assert known is not None
    values = [
        VariableValues({}, {name: bool(bits >> place & 1) for place, name in enumerate(names)}) for bits in range(64)
    ]
    found = [plans.find(known, each) for each in values for _ in range(2)]
    assert sum(isinstance(plan, Plan) for plan in found) == 2 * MAX_VARIANTS - (MAX_VARIANTS - 1)
    assert found[-1] == "variants"


async def test_a_coroutine_that_began_goes_on_where_it_waits() -> None:
    waited = asyncio.get_running_loop().create_future()

    async def work() -> str:
        async with asyncio.timeout(60):
            return str(await waited)

    begun = begin(work())
    assert isinstance(begun, Begun)
    other = asyncio.ensure_future(asyncio.shield(waited))
    asyncio.get_running_loop().call_soon(waited.set_result, "done")
    assert (await begun, await other) == ("done", "done")


async def test_a_condition_that_is_null_is_an_error_of_its_field_each_time() -> None:
    engine = Engine(GRAPHQL, introspection=False)
    text = "query($v: Boolean = true) { __typename @include(if: $v) }"
    for _ in range(3):
        response = await prepared(engine, text, v=None).run()
        assert response["data"] is None
        assert [error["extensions"]["code"] for error in response["errors"]] == ["BAD_USER_INPUT"]
