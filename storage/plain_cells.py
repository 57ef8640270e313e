"""Which cells are plain PostgreSQL: where Citus distributes the tables, one statement writes to one shard at most."""

from typing import Final

from storage.cells import Cell
from storage.limits import Priority

_FIND: Final = "SELECT NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS plain"


class PlainCells:
    """Looks once at each cell."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    async def has(self, cell: Cell) -> bool:
        """Tell whether a cell is plain PostgreSQL; raises Overloaded."""
        known = self._known.get(cell.number)
        if known is None:
            [row] = await cell.fetch(_FIND, priority=Priority.MUTATION)
            known = self._known[cell.number] = row["plain"]
        return known
