"""A person's privacy policy: one versioned JSON document per user."""

import dataclasses
import enum
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema

SCHEMA_PATH: Final = Path(__file__).with_name("privacy-policy.schema.json")
POLICY_VERSION: Final = 1


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


_NARROW_BY_DEFAULT: Final[Mapping[FieldGroup, Audience]] = {
    FieldGroup.EMAIL: Audience.ONLY_ME,
    FieldGroup.PHONE: Audience.ONLY_ME,
    FieldGroup.BIRTH_DATE: Audience.ONLY_ME,
    FieldGroup.ACTIVITY: Audience.FOLLOWERS,
}
DEFAULT_AUDIENCES: Final[Mapping[FieldGroup, Audience]] = {
    group: _NARROW_BY_DEFAULT.get(group, Audience.PUBLIC) for group in FieldGroup
}


@dataclasses.dataclass(frozen=True, slots=True)
class PrivacyPolicy:
    """Who sees what of one person; ids are internal."""

    is_private: bool = False
    audiences: Mapping[FieldGroup, Audience] = dataclasses.field(default_factory=lambda: DEFAULT_AUDIENCES)
    allow: frozenset[int] = frozenset()
    deny: frozenset[int] = frozenset()

    def audience_of(self, group: FieldGroup) -> Audience:
        """Name the audience of a group; a group that the policy does not name shows to nobody else."""
        return self.audiences.get(group, Audience.ONLY_ME)


DEFAULT_POLICY: Final = PrivacyPolicy()
MOST_RESTRICTIVE: Final = PrivacyPolicy(is_private=True, audiences={})


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_PATH.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def write_policy(policy: PrivacyPolicy) -> str:
    """Give the JSON document that is stored."""
    return json.dumps(
        {
            "version": POLICY_VERSION,
            "private": policy.is_private,
            "audiences": {group.value: audience.value for group, audience in policy.audiences.items()},
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
        return MOST_RESTRICTIVE


def _policy_of(data: Mapping[str, Any]) -> PrivacyPolicy:
    named = {FieldGroup(group): Audience(audience) for group, audience in data["audiences"].items()}
    return PrivacyPolicy(
        is_private=data["private"],
        audiences={**DEFAULT_AUDIENCES, **named},
        allow=frozenset(int(user_id) for user_id in data["allow"]),
        deny=frozenset(int(user_id) for user_id in data["deny"]),
    )
