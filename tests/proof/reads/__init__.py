"""The read path on its real parts: nothing stale, no error, and no more asked of a cell than it can do."""
