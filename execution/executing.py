"""Executes a plan: one level after another, or the root fields of a mutation one after another."""

from collections.abc import Awaitable

from graphql import ExecutionResult, GraphQLError
from graphql.execution.values import VariableValues

from execution.completing import complete
from execution.levels import Level, Run
from execution.plan import Plan, Selection
from execution.running import run_level
from schema.fields import OperationContext

Result = ExecutionResult | Awaitable[ExecutionResult]


def execute_plan(plan: Plan, context: OperationContext, root: object, variables: VariableValues) -> Result:
    """Execute a plan; what it gives has to be awaited only where a level function had to wait."""
    run = Run(plan, context, root, variables)
    return _execute(run, plan.roots[0]) if len(plan.roots) == 1 else _execute_serially(run)


def _execute(run: Run, selection: Selection) -> Result:
    level = Level(selection, [run.root])
    waiting = run_level(run, level)
    return complete(run, level) if waiting is None else _execute_later(run, level, waiting)


async def _execute_later(run: Run, level: Level, waiting: Awaitable[None]) -> ExecutionResult:
    await waiting
    result = complete(run, level)
    return result if isinstance(result, ExecutionResult) else await result


async def _execute_serially(run: Run) -> ExecutionResult:
    """Run each root field to its end before the next; one that may not be null and fails is the last."""
    data: dict[str, object] = {}
    errors: list[GraphQLError] = []
    for selection in run.plan.roots:
        run.failed = False
        result = _execute(run, selection)
        if not isinstance(result, ExecutionResult):
            result = await result
        errors += result.errors or []
        if result.data is None:
            return ExecutionResult(None, errors)
        data.update(result.data)
    return ExecutionResult(data, errors or None)
