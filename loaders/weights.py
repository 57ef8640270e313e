"""How many bytes values take in the memory of a process, as measured on CPython 3.11 and rounded up."""

import sys
from typing import Final

from domain.tallies import Tally
from domain.users import User

_USER: Final = 900
_LINK: Final = 60
FACT: Final = 300
"""What a small value of a fixed size takes at most."""
_PAIR: Final = 420
_MARKS: Final = 320
_BLOCK: Final = 180


def weigh_user(user: User | None) -> int:
    """Weigh a profile: its policy and other parts of a fixed size, and its texts."""
    if user is None:
        return 0
    texts = (
        user.username,
        user.display_name,
        user.bio,
        user.avatar_url,
        user.pronouns,
        user.location,
        user.policy.unread,
    )
    weight = _USER + sum(map(sys.getsizeof, texts))
    for link in user.links:
        weight += sys.getsizeof(link.label) + sys.getsizeof(link.url) + _LINK
    return weight


def weigh_side(pairs: int) -> int:
    """Weigh what a viewer is to so many others."""
    return FACT + _PAIR * pairs


def weigh_tally(tally: Tally) -> int:
    """Weigh counts, whoever is counted, and the marks that are made of them."""
    return FACT + _MARKS + len(tally.followers or b"") + len(tally.following or b"")


def weigh_blocks(blocks: int) -> int:
    """Weigh so many blocks, and whom they hide."""
    return 2 * FACT + _MARKS + _BLOCK * blocks
