"""What mutations give back: what changed, or why it did not."""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import strawberry

from domain.consents import Consent as ConsentSource
from domain.consents import DataSharing as Sharing
from domain.errors import UserError as DomainUserError
from domain.notification_preferences import NotificationPreferences as Preferences
from privacy.policy import Visible
from resolvers.exports import ExportView
from resolvers.notification_groups import ShownGroup
from schema.consents import Consent, DataSharing
from schema.costs import ListSize
from schema.data_exports import DataExport
from schema.enums import UserErrorCode
from schema.notification_groups import NotificationGroup
from schema.notification_preferences import NotificationPreferences
from schema.users import User


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The source of every payload."""

    client_mutation_id: str | None
    user: Visible | None
    user_errors: Sequence[DomainUserError]
    consistency_token: str | None


@strawberry.interface(description="An expected failure of a mutation; `path` leads to the input that caused it.")
class UserError:
    """Source: `domain.errors.UserError`."""

    message: str
    path: list[str]
    code: UserErrorCode


@strawberry.type(description="Why a mutation did nothing.")
class MutationError(UserError):
    """Source: `domain.errors.UserError`."""

    @classmethod
    def is_type_of(cls, _source: object, _info: Any) -> bool:
        """Every error of a mutation is of this type."""
        return True


@strawberry.type
class _Payload:
    """Source: `Result`. Each mutation has a payload type of its own, so that each can grow by itself."""

    client_mutation_id: str | None
    user: User | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None


@strawberry.type
class FollowUserPayload(_Payload):
    """What `followUser` gives back."""


@strawberry.type
class UnfollowUserPayload(_Payload):
    """What `unfollowUser` gives back."""


@strawberry.type
class BlockUserPayload(_Payload):
    """What `blockUser` gives back."""


@strawberry.type
class UnblockUserPayload(_Payload):
    """What `unblockUser` gives back."""


@strawberry.type
class RemoveFollowerPayload(_Payload):
    """What `removeFollower` gives back."""


@strawberry.type
class AcceptFollowRequestPayload(_Payload):
    """What `acceptFollowRequest` gives back."""


@strawberry.type
class RejectFollowRequestPayload(_Payload):
    """What `rejectFollowRequest` gives back."""


@strawberry.type
class CancelFollowRequestPayload(_Payload):
    """What `cancelFollowRequest` gives back."""


@strawberry.type
class MuteUserPayload(_Payload):
    """What `muteUser` gives back."""


@strawberry.type
class UnmuteUserPayload(_Payload):
    """What `unmuteUser` gives back."""


@strawberry.type
class UpdateProfilePayload(_Payload):
    """What `updateProfile` gives back."""


@strawberry.type
class ChangeUsernamePayload(_Payload):
    """What `changeUsername` gives back."""


@strawberry.type
class RemoveFormerUsernamesPayload(_Payload):
    """What `removeFormerUsernames` gives back."""


@strawberry.type
class UpdatePrivacySettingsPayload(_Payload):
    """What `updatePrivacySettings` gives back."""


@strawberry.type
class RestoreAccountPayload(_Payload):
    """What `restoreAccount` gives back."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeletionResult:
    """The source of `DeleteAccountPayload`."""

    client_mutation_id: str | None
    restorable_until: dt.datetime | None
    user_errors: Sequence[DomainUserError]
    consistency_token: str | None


@strawberry.type
class DeleteAccountPayload:
    """Source: `DeletionResult`. Until `restorableUntil` the deletion can be undone by `restoreAccount`."""

    client_mutation_id: str | None
    restorable_until: dt.datetime | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class SignOutResult:
    """The source of `SignOutPayload`."""

    client_mutation_id: str | None
    user_errors: Sequence[DomainUserError] = ()


@strawberry.type
class SignOutPayload:
    """Source: `SignOutResult`. It was the last that the token could do."""

    client_mutation_id: str | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])


@dataclasses.dataclass(frozen=True, slots=True)
class ExportResult:
    """The source of `RequestDataExportPayload`."""

    client_mutation_id: str | None
    data_export: ExportView | None
    user_errors: Sequence[DomainUserError] = ()
    consistency_token: str | None = None


@strawberry.type
class RequestDataExportPayload:
    """Source: `ExportResult`. The export is the one that is under way or ready already, where there is one."""

    client_mutation_id: str | None
    data_export: DataExport | None
    user_errors: list[UserError]
    consistency_token: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class MarkResult:
    """The source of `MarkNotificationsReadPayload`."""

    client_mutation_id: str | None
    groups: Sequence[ShownGroup]
    unread_notifications_count: int
    consistency_token: str | None
    user_errors: Sequence[DomainUserError] = ()


@strawberry.type
class MarkNotificationsReadPayload:
    """Source: `MarkResult`. The groups are those that hold what was named."""

    client_mutation_id: str | None
    groups: list[NotificationGroup]
    unread_notifications_count: int
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class PreferencesResult:
    """The source of `UpdateNotificationPreferencesPayload`."""

    client_mutation_id: str | None
    notification_preferences: Preferences | None
    user_errors: Sequence[DomainUserError]
    consistency_token: str | None


@strawberry.type
class UpdateNotificationPreferencesPayload:
    """Source: `PreferencesResult`."""

    client_mutation_id: str | None
    notification_preferences: NotificationPreferences | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class ConsentResult:
    """The source of `RecordConsentPayload`."""

    client_mutation_id: str | None
    consent: ConsentSource | None
    user_errors: Sequence[DomainUserError]
    consistency_token: str | None


@strawberry.type
class RecordConsentPayload:
    """Source: `ConsentResult`. The consent is the decision in force, which may be one from before."""

    client_mutation_id: str | None
    consent: Consent | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class SharingResult:
    """The source of `SetDataSharingPayload`."""

    client_mutation_id: str | None
    data_sharing: Sharing | None
    user_errors: Sequence[DomainUserError]
    consistency_token: str | None


@strawberry.type
class SetDataSharingPayload:
    """Source: `SharingResult`."""

    client_mutation_id: str | None
    data_sharing: DataSharing | None
    user_errors: list[UserError] = strawberry.field(directives=[ListSize(assumed_size=1)])
    consistency_token: str | None
