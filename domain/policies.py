"""A person's privacy policy: one versioned JSON document per user."""

import dataclasses
import enum
import functools
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema

SCHEMA_PATH: Final = Path(__file__).with_name("privacy-policy.schema.json")
POLICY_VERSION: Final = 1
MAX_LISTED: Final = 1000
"""How many people an allow or a deny list holds at most; the JSON Schema says the same."""


class FieldGroup(enum.Enum):
    """What can be shown or hidden as one."""

    PROFILE = "PROFILE"
    BIO = "BIO"
    EMAIL = "EMAIL"
    PHONE = "PHONE"
    BIRTH_DATE = "BIRTH_DATE"
    LOCATION = "LOCATION"
    LINKS = "LINKS"
    FOLLOWERS_LIST = "FOLLOWERS_LIST"
    FOLLOWING_LIST = "FOLLOWING_LIST"
    COUNTS = "COUNTS"
    ACTIVITY = "ACTIVITY"
    DISCOVERABILITY = "DISCOVERABILITY"


class Audience(enum.Enum):
    """Who may see a field group, from the fewest to all."""

    ONLY_ME = "ONLY_ME"
    MUTUALS = "MUTUALS"
    FOLLOWERS = "FOLLOWERS"
    SIGNED_IN = "SIGNED_IN"
    PUBLIC = "PUBLIC"


class PrivacyPreset(enum.Enum):
    """A named set of audiences, from the most open to the most closed."""

    OPEN = "OPEN"
    STANDARD = "STANDARD"
    SIGNED_IN = "SIGNED_IN"
    FOLLOWERS = "FOLLOWERS"
    CLOSED = "CLOSED"


@dataclasses.dataclass(frozen=True, slots=True)
class AudienceSetting:
    """The audience of one group."""

    group: FieldGroup
    audience: Audience


def _shown_to(audience: Audience, **narrower: Audience) -> Mapping[FieldGroup, Audience]:
    """Show everything to one audience, but some groups to a narrower one, and how to reach the person to nobody."""
    personal = dict.fromkeys((FieldGroup.EMAIL, FieldGroup.PHONE, FieldGroup.BIRTH_DATE), Audience.ONLY_ME)
    named = {FieldGroup[name]: chosen for name, chosen in narrower.items()}
    return {**dict.fromkeys(FieldGroup, audience), **personal, **named}


DEFAULT_AUDIENCES: Final = _shown_to(Audience.PUBLIC, ACTIVITY=Audience.FOLLOWERS)


class _Numbered:
    """Room for a number beside the fields: not compared, stored or sent."""

    __slots__ = ("terms",)
    terms: int
    """Stands for everything but the lists: policies that have it in common agree in the rest."""


@dataclasses.dataclass(frozen=True, slots=True)
class PrivacyPolicy(_Numbered):
    """Who sees what of one person; ids are internal."""

    is_private: bool = False
    audiences: Mapping[FieldGroup, Audience] = dataclasses.field(default_factory=lambda: DEFAULT_AUDIENCES)
    allow: frozenset[int] = frozenset()
    deny: frozenset[int] = frozenset()
    unread: str | None = None
    """The stored document, where it could not be read: kept as it is, and until it can be read nothing shows."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _number_of(self.is_private, tuple(map(self.audiences.get, FieldGroup))))

    def audience_of(self, group: FieldGroup) -> Audience:
        """Name the audience of a group; a group that the policy does not name shows to nobody else."""
        return self.audiences.get(group, Audience.ONLY_ME)

    @property
    def settings(self) -> tuple[AudienceSetting, ...]:
        """Name the audience of every group."""
        return tuple(AudienceSetting(group, self.audience_of(group)) for group in FieldGroup)


@functools.lru_cache(maxsize=4096)
def _number_of(_is_private: bool, _audiences: tuple[Audience | None, ...]) -> int:  # noqa: FBT001 - a part of the key
    """Give a number by value; what fell out of use gets a new one, and none is ever given twice."""
    return next(_NUMBERS)


_NUMBERS: Final = itertools.count()

DEFAULT_POLICY: Final = PrivacyPolicy()
MOST_RESTRICTIVE: Final = PrivacyPolicy(is_private=True, audiences={})
PRESETS: Final[Mapping[PrivacyPreset, PrivacyPolicy]] = {
    PrivacyPreset.OPEN: PrivacyPolicy(audiences=_shown_to(Audience.PUBLIC)),
    PrivacyPreset.STANDARD: DEFAULT_POLICY,
    PrivacyPreset.SIGNED_IN: PrivacyPolicy(audiences=_shown_to(Audience.SIGNED_IN, ACTIVITY=Audience.FOLLOWERS)),
    PrivacyPreset.FOLLOWERS: PrivacyPolicy(is_private=True, audiences=_shown_to(Audience.FOLLOWERS)),
    PrivacyPreset.CLOSED: PrivacyPolicy(is_private=True, audiences=_shown_to(Audience.ONLY_ME)),
}
"""What each preset sets; none has lists, since a preset leaves the owner's as they are."""


def apply_preset(policy: PrivacyPolicy, preset: PrivacyPreset) -> PrivacyPolicy:
    """Set what a preset sets: whether the account is private, and every audience."""
    return dataclasses.replace(PRESETS[preset], allow=policy.allow, deny=policy.deny)


def preset_of(policy: PrivacyPolicy) -> PrivacyPreset | None:
    """Name the preset that a policy equals but for its lists; None where it is the owner's own."""
    terms = (policy.is_private, policy.settings)
    return next((preset for preset, its in PRESETS.items() if (its.is_private, its.settings) == terms), None)


def listed(named: Iterable[int], kept: Iterable[int]) -> frozenset[int]:
    """Make a list of the people whom the owner names and, while there is room, of others who stay on it unseen."""
    people = frozenset(named)
    return people.union(sorted(frozenset(kept) - people)[: MAX_LISTED - len(people)])


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_PATH.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def write_policy(policy: PrivacyPolicy) -> str:
    """Give the JSON document that is stored; it names every group, so that none falls back to its default.

    What could not be read is stored again as it was found: another version of Kith may know what it says.
    """
    if policy.unread is not None:
        return policy.unread
    return json.dumps(
        {
            "version": POLICY_VERSION,
            "private": policy.is_private,
            "audiences": {setting.group.value: setting.audience.value for setting in policy.settings},
            "allow": [str(user_id) for user_id in sorted(policy.allow)],
            "deny": [str(user_id) for user_id in sorted(policy.deny)],
        },
        separators=(",", ":"),
    )


@functools.lru_cache(maxsize=4096)
def read_policy(document: str | None) -> PrivacyPolicy:
    """Read a stored document; whatever cannot be read is the most restrictive policy, never an error."""
    try:
        data = json.loads(document or "")
        _validator().validate(data)
        return _policy_of(data)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return dataclasses.replace(MOST_RESTRICTIVE, unread=document) if document else MOST_RESTRICTIVE


def _policy_of(data: Mapping[str, Any]) -> PrivacyPolicy:
    named = {FieldGroup(group): Audience(audience) for group, audience in data["audiences"].items()}
    return PrivacyPolicy(
        is_private=data["private"],
        audiences={**DEFAULT_AUDIENCES, **named},
        allow=frozenset(int(user_id) for user_id in data["allow"]),
        deny=frozenset(int(user_id) for user_id in data["deny"]),
    )
