"""Runs an operation by its plan and in graphql-core, and tells where they differ."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, ClassVar

import orjson
from graphql import DocumentNode, ExecutionResult, GraphQLSchema, validate
from graphql.execution import Executor
from graphql.execution.values import VariableValues

from execution.executing import execute_plan
from execution.plan import Outline, Plan, Unplannable
from execution.planner import compile_plan
from execution.plans import outline_of
from schema.fields import LevelFunction, Levels, OperationContext

ROOT = object()
STATISTICS: Counter[str] = Counter()


class OneAtATime(Levels):
    """Stands in for the gathering of levels: graphql-core asks the same functions for one object each."""

    def load(self, function: LevelFunction, parent: object, info: Any, arguments: dict[str, Any]) -> Any:
        answers = function(info.context.app, [parent], **arguments)
        return one_of(answers) if isinstance(answers, Sequence) else Answer(answers)


class Answer:
    """A coroutine's answer; graphql-core leaves some behind when a sibling fails.

    The coroutine is held elsewhere: where both are garbage in one circle, the collector comes to what was made first,
    which would be a coroutine that was never awaited.
    """

    _held: ClassVar[dict[int, Any]] = {}

    def __init__(self, coroutine: Any) -> None:
        self._held[id(self)] = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        return one_of((yield from self._held[id(self)].__await__()))

    def __del__(self) -> None:
        self._held.pop(id(self)).close()


def one_of(answers: Sequence[Any]) -> Any:
    [answer] = answers
    if isinstance(answer, Exception):
        raise answer
    return answer


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one executor made of an operation."""

    result: ExecutionResult
    waited: bool
    log: list[object]


class Compiled:
    """The plans of one document, compiled once for the same conditions: what one run leaves behind, the next meets."""

    def __init__(self, conditions: Collection[str] = ()) -> None:
        self._conditions = conditions
        self._plans: dict[tuple[object, ...], Plan] = {}

    def plan(self, outline: Outline, variables: VariableValues) -> Plan:
        key = tuple(variables.coerced.get(name) for name in self._conditions)
        if key not in self._plans:
            self._plans[key] = compile_plan(outline, variables)
        return self._plans[key]


async def compare(
    schema: GraphQLSchema,
    document: DocumentNode,
    variables: dict[str, Any],
    new_app: Callable[[], Any],
    compiled: Compiled,
) -> str | None:
    """Give what differs, or None; operations without a plan are counted and left alone."""
    if validate(schema, document):
        STATISTICS["invalid"] += 1
        return None
    outline = outline_of(schema, document, None)
    app = new_app()
    built = Executor.build(
        schema,
        document,
        ROOT,
        OperationContext(app, OneAtATime()),
        variables,
        hide_suggestions=True,
    )
    if isinstance(built, list) or outline is None:
        STATISTICS["variables refused"] += 1
        return None
    try:
        plan = compiled.plan(outline, built.variable_values)
    except Unplannable as reason:
        STATISTICS[f"no plan: {reason}"] += 1
        return None
    reference = await _outcome(built.execute_operation(), app)
    if app.budget < 0:
        STATISTICS["too large"] += 1
        return None
    again = new_app()
    planned = await _outcome(execute_plan(plan, OperationContext(again), ROOT, built.variable_values), again)
    _count(reference)
    return _difference(reference, planned)


async def _outcome(result: Any, app: Any) -> Outcome:
    waits = not isinstance(result, ExecutionResult)
    return Outcome(await result if waits else result, waits or app.waits > 0, app.log)


def _count(reference: Outcome) -> None:
    STATISTICS["compared"] += 1
    STATISTICS["waited"] += reference.waited
    STATISTICS["with errors"] += bool(reference.result.errors)
    STATISTICS["without data"] += reference.result.data is None


def _difference(reference: Outcome, planned: Outcome) -> str | None:
    ours, theirs = planned.result, reference.result
    if _bytes(ours.data) != _bytes(theirs.data):
        return f"data: {ours.data} is not {theirs.data} ({ours.errors}, {theirs.errors})"
    if planned.log != reference.log:
        return f"effects: {planned.log} is not {reference.log}"
    if _told(ours) == _told(theirs):
        return None
    if not reference.waited and not planned.waited:
        return f"errors: {_told(ours)} is not {_told(theirs)}"
    # Where fields wait, which of several errors below one null is told depends on who was first.
    STATISTICS["other errors at the same places"] += 1
    if _places(ours) != _places(theirs):
        return f"places of errors: {_told(ours)} is not {_told(theirs)}"
    return None


def _bytes(data: object) -> bytes:
    return orjson.dumps(data, default=repr)


def _told(result: ExecutionResult) -> list[tuple[object, str, object]]:
    return [(error.path, error.message, error.locations) for error in result.errors or ()]


def _places(result: ExecutionResult) -> set[tuple[object, ...]]:
    """Give where null stands in the data because of an error."""
    places = set()
    for error in result.errors or ():
        at: Any = result.data
        place: tuple[object, ...] = ()
        for key in error.path or ():
            if at is None:
                break
            at, place = at[key], (*place, key)
        assert at is None, f"an error at {error.path}, but there is a value"
        places.add(place)
    return places
