"""What can go wrong, once. The docstring of an error is its message; `code` is what clients switch on."""

import dataclasses
import enum
from typing import ClassVar


class KithError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: str | None = None, **extensions: object) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.extensions = extensions


class InvalidInput(KithError):
    """The input is not valid."""

    code = "BAD_USER_INPUT"


class Unauthenticated(KithError):
    """Sign in first: send `Authorization: Bearer <access token>`."""

    code = "UNAUTHENTICATED"


class TokenRejected(Unauthenticated):
    """The access token is not valid or has expired; get a new one."""


class StepUpRequired(KithError):
    """Sign in again, and repeat this with the new token within ten minutes."""

    code = "STEP_UP_REQUIRED"


class Forbidden(KithError):
    """The access token is not for this; get one with the scope that is needed."""

    code = "FORBIDDEN"


class Conflict(KithError):
    """Somebody changed this meanwhile; read it again and repeat the change."""

    code = "CONFLICT"


class Overloaded(KithError):
    """The service cannot answer right now; try again shortly."""

    code = "OVERLOADED"


class RateLimited(KithError):
    """Too much was asked in too short a time; try again after `retryAfter` seconds."""

    code = "RATE_LIMITED"


class DeadlineExceeded(KithError):
    """The request took longer than it was given; try again, with more time if you limited it."""

    code = "DEADLINE_EXCEEDED"


class CursorExpired(KithError):
    """What followed this cursor is not kept any more; read the notifications anew and listen without it."""

    code = "CURSOR_EXPIRED"


class FellBehind(KithError):
    """The events are taken too slowly; subscribe again with `after: resumeAfter`."""

    code = "SUBSCRIBER_TOO_SLOW"


class UnknownCell(KithError):
    """No configured cell is home to this id."""


class UserErrorCode(enum.Enum):
    """Why a mutation did not do what it was asked; part of the schema."""

    USER_UNAVAILABLE = "USER_UNAVAILABLE"
    CANNOT_TARGET_SELF = "CANNOT_TARGET_SELF"
    INVALID_VALUE = "INVALID_VALUE"
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    FOLLOW_LIMIT_REACHED = "FOLLOW_LIMIT_REACHED"
    USERNAME_UNAVAILABLE = "USERNAME_UNAVAILABLE"
    USERNAME_REQUIREMENTS = "USERNAME_REQUIREMENTS"
    USERNAME_CHANGE_LIMIT = "USERNAME_CHANGE_LIMIT"
    POLICY_UNREADABLE = "POLICY_UNREADABLE"


@dataclasses.dataclass(frozen=True, slots=True)
class UserError:
    """An expected failure of a mutation, told in its payload; `path` leads to the input that caused it."""

    code: UserErrorCode
    message: str
    path: tuple[str, ...]
