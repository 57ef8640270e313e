"""What mutations take: one input each."""

import datetime as dt

import strawberry
from strawberry import UNSET

from schema.enums import Audience, ConsentPurpose, FieldGroup, NotificationTreatment, PrivacyPreset, WaitingRequests


@strawberry.input
class FollowUserInput:
    """Whom to follow."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class UnfollowUserInput:
    """Whom to follow no more."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class BlockUserInput:
    """Whom to block, and until when; for good where no time is given."""

    user_id: strawberry.ID
    expires_at: dt.datetime | None = None
    client_mutation_id: str | None = None


@strawberry.input
class UnblockUserInput:
    """Whom to block no more."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class RemoveFollowerInput:
    """Who is to follow the viewer no more."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class AcceptFollowRequestInput:
    """Whose request to accept."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class RejectFollowRequestInput:
    """Whose request to reject."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class CancelFollowRequestInput:
    """Whom to ask no more."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class MuteUserInput:
    """Whom to mute, and until when; for good where no time is given."""

    user_id: strawberry.ID
    expires_at: dt.datetime | None = None
    client_mutation_id: str | None = None


@strawberry.input
class UnmuteUserInput:
    """Whom to mute no more."""

    user_id: strawberry.ID
    client_mutation_id: str | None = None


@strawberry.input
class ChangeUsernameInput:
    """The viewer's next name, and whether the one until now goes on leading to the viewer."""

    username: str
    keep_former: bool = True
    client_mutation_id: str | None = None


@strawberry.input
class RemoveFormerUsernamesInput:
    """Nothing to say: all former names of the viewer are meant."""

    client_mutation_id: str | None = None


@strawberry.input
class SignOutInput:
    """Which tokens are to count no more: those of the session that asks, or all that the viewer has."""

    everywhere: bool = False
    client_mutation_id: str | None = None


@strawberry.input
class ProfileLinkInput:
    """A link to show on the profile."""

    label: str
    url: str


@strawberry.input
class UpdateProfileInput:
    """What to change; what is left out stays, and null clears."""

    display_name: str | None = UNSET
    bio: str | None = UNSET
    avatar_url: str | None = UNSET
    pronouns: str | None = UNSET
    location: str | None = UNSET
    links: list[ProfileLinkInput] | None = UNSET
    phone: str | None = strawberry.field(
        default=UNSET, description="With the country's code, such as +49 30 123456; shown as E.164 has it."
    )
    birth_date: dt.date | None = UNSET
    expected_version: int | None = None
    client_mutation_id: str | None = None


@strawberry.input
class AudienceInput:
    """Who may see one group of fields."""

    group: FieldGroup
    audience: Audience


@strawberry.input(
    description="What to change; what is left out or null stays. `preset` is applied first and the rest over it, so "
    "that `isPrivate` and the audiences named here win. A preset leaves `allow` and `deny` as they are; each of the "
    "two replaces its whole list, and nobody may be on both. `waitingRequests` says what becomes of those who ask to "
    "follow an account that goes public, by a preset or otherwise."
)
class UpdatePrivacySettingsInput:
    """What to change of the policy."""

    preset: PrivacyPreset | None = None
    is_private: bool | None = None
    waiting_requests: WaitingRequests = WaitingRequests.ACCEPT
    audiences: list[AudienceInput] | None = None
    allow: list[strawberry.ID] | None = None
    deny: list[strawberry.ID] | None = None
    expected_version: int | None = None
    client_mutation_id: str | None = None


@strawberry.input
class MarkNotificationsReadInput:
    """Exactly one of: `upTo`, the cursor of a notification, and `ids` of at most 100 notifications or groups."""

    up_to: str | None = None
    ids: list[strawberry.ID] | None = None
    client_mutation_id: str | None = None


@strawberry.input
class UpdateNotificationPreferencesInput:
    """What to change; what is left out stays. `newAccountDays` lies between 1 and 365."""

    followed: NotificationTreatment | None = None
    strangers: NotificationTreatment | None = None
    new_accounts: NotificationTreatment | None = None
    new_account_days: int | None = None
    client_mutation_id: str | None = None


@strawberry.input
class RecordConsentInput:
    """To what the viewer agrees, or agrees no longer: a purpose, and the version of its text, such as `2026-11-01`."""

    purpose: ConsentPurpose
    version: str
    granted: bool
    client_mutation_id: str | None = None


@strawberry.input
class SetDataSharingInput:
    """Whether the viewer opts out of having data sold or shared."""

    opted_out: bool
    client_mutation_id: str | None = None


@strawberry.input
class DeleteAccountInput:
    """What deletes the account: the viewer's own username, to confirm."""

    confirmation: str
    client_mutation_id: str | None = None


@strawberry.input
class RequestDataExportInput:
    """Nothing but who asks."""

    client_mutation_id: str | None = None


@strawberry.input
class RestoreAccountInput:
    """Nothing but who asks."""

    client_mutation_id: str | None = None
