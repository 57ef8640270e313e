"""Faults put into the running of plans, one at a time: what the comparison must find."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from unittest import mock

from graphql import ExecutionResult, GraphQLError, Undefined, is_non_null_type, located_error
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import to_nodes
from graphql.execution.values import VariableValues

from execution import builder, completing, executing, levels, planner, running, shaping, tidying
from execution.levels import Level, Run
from execution.plan import Entry

Plant = Callable[[], contextlib.AbstractContextManager[Any]]


def _patched(owner: object, name: str, value: object) -> Plant:
    return lambda: mock.patch.object(owner, name, value)


def _all_shown(level: Level, bit: int) -> None:
    del level, bit


def _nulls_last(values: list[Any], shown: list[int], number: int) -> list[Any]:
    del shown
    return [*values, *[None] * (number - len(values))]


async def _mutations_go_on(run: Run) -> ExecutionResult:
    data, errors = {}, []
    for selection in run.plan.roots:
        run.failed = False
        found = executing._execute(run, selection)
        result = found if isinstance(found, ExecutionResult) else await found
        errors += result.errors or []
        data.update(result.data or {})
    return ExecutionResult(data or None, errors or None)


async def _mutations_in_reverse(run: Run) -> ExecutionResult:
    run.plan.roots.reverse()
    return await _serially(run)


_serially = executing._execute_serially
_arguments = levels.Run.arguments
_completed = completing._Steps._completed
_result = completing._Steps.result
_grouped = planner._grouped
_collect = collect_fields
_drained = tidying._drained
_sort = shaping._sort
_shape = shaping._Shaping.shape


def _first_arguments(self: Run, entry: Entry) -> Mapping[str, Any] | Exception:
    """Keep in the plan what the first request gave."""
    entry.arguments = _arguments(self, entry)
    return entry.arguments


def _null_passes(self: Any, level: Level, entry: Entry, type_: Any, *rest: Any) -> Any:
    return _completed(self, level, entry, type_.of_type if is_non_null_type(type_) else type_, *rest)


def _errors_stay_inside(self: Any, level: Level, entry: Entry, *rest: Any) -> Any:
    try:
        return _completed(self, level, entry, *rest)
    except Exception as error:  # noqa: BLE001 - every error is told where it arose, and goes no further
        self._errors.append(located_error(error, to_nodes(entry.details), rest[-1]))
        return None


def _errors_in_reverse(self: Any, level: Level) -> ExecutionResult:
    result = _result(self, level)
    return ExecutionResult(result.data, result.errors[::-1] if result.errors else None)


def _twins(run: Run, level: Level, entry: Entry, items: list[Any], types: Sequence[Any]) -> None:
    _sort(run, level, entry, items, types)
    for item in items:
        item.index = 0


def _whole(items: Any, others: list[Any]) -> list[Any]:
    del items
    return others


def _emptied(iterable: Any) -> list[Any]:
    found = _drained(iterable)
    return [] if isinstance(found, tidying.Cut) else found


def _sorted_keys(collected: Any) -> dict[str, Any]:
    return dict(sorted(_grouped(collected).items()))


def _unconditional(schema: Any, fragments: Any, conditions: VariableValues, *rest: Any, **options: Any) -> Any:
    yes = VariableValues(conditions.sources, dict.fromkeys(conditions.coerced, True))
    return _collect(schema, fragments, yes, *rest, **options)


def _without_nodes(error: Exception, nodes: object, path: list[str | int]) -> GraphQLError:
    del nodes
    return located_error(error, None, path)


def _nulls_for_errors(self: Any, value: Any, type_: Any, item: Any) -> Any:
    return _shape(self, None if value is Undefined or isinstance(value, Exception) else value, type_, item)


class Planted(NamedTuple):
    """A fault, and a seed at which it shows."""

    plant: Plant
    seed: int


PLANTED: Final = {
    "hidden fields are asked": Planted(_patched(running, "_shown", _all_shown), 11),
    "nulls of hidden fields stand last": Planted(_patched(running, "_spread", _nulls_last), 6),
    "mutations go on after one that failed": Planted(_patched(executing, "_execute_serially", _mutations_go_on), 14),
    "mutations run in reverse": Planted(_patched(executing, "_execute_serially", _mutations_in_reverse), 14),
    "arguments are kept for the next request": Planted(_patched(levels.Run, "arguments", _first_arguments), 1),
    "null passes where it may not be": Planted(_patched(completing._Steps, "_completed", _null_passes), 2),
    "errors null their own field alone": Planted(_patched(completing._Steps, "_completed", _errors_stay_inside), 0),
    "errors in reverse": Planted(_patched(completing._Steps, "result", _errors_in_reverse), 20),
    "errors without places": Planted(_patched(completing, "located_error", _without_nodes), 20),
    "all objects of a type are the first": Planted(_patched(shaping, "_sort", _twins), 3),
    "errors among objects are nulls": Planted(_patched(shaping._Shaping, "shape", _nulls_for_errors), 46),
    "a list that breaks off is whole": Planted(_patched(tidying, "_drained", _emptied), 6),
    "lists of lists do not break off": Planted(_patched(tidying, "like", _whole), 21),
    "keys in the order of the alphabet": Planted(_patched(planner, "_grouped", _sorted_keys), 2),
    "conditions always hold": Planted(_patched(planner, "collect_fields", _unconditional), 14),
    "numbers of any size are ints": Planted(_patched(builder, "_INT_BOUNDS", "True"), 132),
}
