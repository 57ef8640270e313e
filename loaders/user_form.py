"""How a profile is written in Redis: its fields in their order, and the policy read once for all who have the same."""

import datetime as dt
import functools
from typing import Any, Final

import msgspec
from msgspec.structs import astuple, fields

from domain.policies import PrivacyPolicy
from domain.users import ProfileLink, User, UserState

_Text = str | None
_POLICY: Final = [field.name for field in fields(User)].index("policy")
_FIELDS: Final = msgspec.msgpack.Decoder(
    tuple[
        int, str, str, _Text, _Text, _Text, _Text, _Text, tuple[ProfileLink, ...], msgspec.Raw, UserState, int,
        dt.datetime,
    ]
)  # fmt: skip
_POLICIES: Final = msgspec.msgpack.Decoder(PrivacyPolicy)
_SHARED: Final = 4096


def encode_user(user: User | None) -> bytes:
    """Write a profile; nobody is no bytes."""
    return msgspec.msgpack.encode(astuple(user)) if user is not None else b""


def decode_user(value: bytes) -> User | None:
    """Read what `encode_user` wrote.

    Raises:
        msgspec.MsgspecError: it was written in another form.
    """
    if not value:
        return None
    found: list[Any] = list(_FIELDS.decode(value))
    found[_POLICY] = _policy_of(bytes(found[_POLICY]))
    return User(*found)


@functools.lru_cache(maxsize=_SHARED)
def _policy_of(written: bytes) -> PrivacyPolicy:
    """Most people have one of few policies, and reading one takes longer than all else of a profile."""
    return _POLICIES.decode(written)
