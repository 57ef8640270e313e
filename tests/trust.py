"""Trust for a memory that stands alone."""

import math


class Always:
    """Trusts what is held for as long as it is."""

    sure_until = math.inf

    def lapse(self) -> None:
        """Do nothing."""
