"""A small model of who may see what, written from the contract and not from `privacy/`."""

import dataclasses
from collections.abc import Mapping
from typing import Final

VIEWERS: Final = (
    "self",
    "mutual",
    "follower",
    "requested",
    "followed",
    "member",
    "anonymous",
    "blocked",
    "blocking",
    "allowed",
    "denied",
)
"""What the viewer is to the target; the last two are members whom the target lists."""

NEVER_MEET: Final = frozenset({"blocked", "blocking"})
FOLLOWERS: Final = frozenset({"mutual", "follower"})

IN_AUDIENCE: Final[Mapping[str, frozenset[str]]] = {
    "ONLY_ME": frozenset(),
    "MUTUALS": frozenset({"mutual"}),
    "FOLLOWERS": FOLLOWERS,
    "SIGNED_IN": frozenset({"mutual", "follower", "requested", "followed", "member"}),
    "PUBLIC": frozenset({"mutual", "follower", "requested", "followed", "member", "anonymous"}),
}

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "BIO": ("bio",),
    "PROFILE": ("pronouns", "createdAt"),
    "LOCATION": ("location",),
    "LINKS": ("links",),
    "EMAIL": ("email",),
    "PHONE": ("phone",),
    "BIRTH_DATE": ("birthDate",),
    "COUNTS": ("followersCount", "followingCount"),
    "FOLLOWERS_LIST": ("followers", "mutualFollowers"),
    "FOLLOWING_LIST": ("following",),
}
"""The fields of a person by group; groups without fields in the schema are left out."""

GROUPS: Final = (*FIELDS, "ACTIVITY", "DISCOVERABILITY")
"""Every group, whether or not the schema has fields of it yet."""

DEFAULTS: Final[Mapping[str, str]] = dict.fromkeys(FIELDS, "PUBLIC")


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What a target has chosen."""

    audiences: Mapping[str, str] = dataclasses.field(default_factory=lambda: DEFAULTS)
    is_private: bool = False


def meets(viewer: str) -> bool:
    """Tell whether the viewer meets the target at all; blocks hide, and nothing else does."""
    return viewer not in NEVER_MEET


def sees(viewer: str, setting: Setting, group: str) -> bool:
    """Tell whether a group of the target's fields shows to the viewer."""
    audience = setting.audiences[group]
    if not meets(viewer) or viewer == "denied":
        return False
    if viewer == "self":
        return True
    if viewer == "allowed":
        return audience != "ONLY_ME"
    shut = setting.is_private and group != "COUNTS" and viewer not in FOLLOWERS
    return viewer in IN_AUDIENCE[audience] and not shut


SETTINGS: Final[Mapping[str, Setting]] = {
    "public": Setting(),
    "private": Setting(is_private=True),
    "all for followers": Setting(dict.fromkeys(FIELDS, "FOLLOWERS")),
    "all for nobody": Setting(dict.fromkeys(FIELDS, "ONLY_ME")),
}

_AUDIENCES: Final = tuple(IN_AUDIENCE)
SPREAD: Final = tuple(
    Setting(
        {group: _AUDIENCES[(number + shift) % len(_AUDIENCES)] for number, group in enumerate(GROUPS)},
        is_private=is_private,
    )
    for shift in range(len(_AUDIENCES))
    for is_private in (False, True)
)
"""Settings in which each group has each audience once, beside others: a group that took another's would show."""
