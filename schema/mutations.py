"""The root of all mutations: one input, and a payload with what changed or why it did not."""

from collections.abc import Sequence

import strawberry
from strawberry import UNSET

from domain.policies import AudienceSetting
from domain.scopes import Scope
from domain.users import ProfileLink
from resolvers import (
    accounts,
    blocks,
    consents,
    exports,
    follows,
    mutes,
    notification_marks,
    notification_preferences,
    policies,
    sessions,
    settings,
    usernames,
)
from resolvers.context import Context
from resolvers.outcomes import Outcome
from schema.costs import ListSize
from schema.fields import mutation
from schema.inputs import (
    AcceptFollowRequestInput,
    BlockUserInput,
    CancelFollowRequestInput,
    ChangeUsernameInput,
    DeleteAccountInput,
    FollowUserInput,
    MarkNotificationsReadInput,
    MuteUserInput,
    RecordConsentInput,
    RejectFollowRequestInput,
    RemoveFollowerInput,
    RemoveFormerUsernamesInput,
    RequestDataExportInput,
    RestoreAccountInput,
    SetDataSharingInput,
    SignOutInput,
    UnblockUserInput,
    UnfollowUserInput,
    UnmuteUserInput,
    UpdateNotificationPreferencesInput,
    UpdatePrivacySettingsInput,
    UpdateProfileInput,
)
from schema.payloads import (
    AcceptFollowRequestPayload,
    BlockUserPayload,
    CancelFollowRequestPayload,
    ChangeUsernamePayload,
    ConsentResult,
    DeleteAccountPayload,
    DeletionResult,
    ExportResult,
    FollowUserPayload,
    MarkNotificationsReadPayload,
    MarkResult,
    MuteUserPayload,
    PreferencesResult,
    RecordConsentPayload,
    RejectFollowRequestPayload,
    RemoveFollowerPayload,
    RemoveFormerUsernamesPayload,
    RequestDataExportPayload,
    RestoreAccountPayload,
    Result,
    SetDataSharingPayload,
    SharingResult,
    SignOutPayload,
    SignOutResult,
    UnblockUserPayload,
    UnfollowUserPayload,
    UnmuteUserPayload,
    UpdateNotificationPreferencesPayload,
    UpdatePrivacySettingsPayload,
    UpdateProfilePayload,
)


def _results(client_mutation_id: str | None, outcome: Outcome) -> list[Result]:
    return [Result(client_mutation_id, outcome.user, outcome.user_errors, outcome.consistency_token)]


async def follow_user(context: Context, _roots: Sequence[object], *, input: FollowUserInput) -> list[Result]:
    """Follow a person, or ask one whose account is private."""
    return _results(input.client_mutation_id, await follows.follow(context, input.user_id))


async def unfollow_user(context: Context, _roots: Sequence[object], *, input: UnfollowUserInput) -> list[Result]:
    """Stop following a person, or withdraw the request."""
    return _results(input.client_mutation_id, await follows.unfollow(context, input.user_id))


async def block_user(context: Context, _roots: Sequence[object], *, input: BlockUserInput) -> list[Result]:
    """Block a person: both stop following each other and neither meets the other."""
    outcome = await blocks.block(context, input.user_id, expires_at=input.expires_at)
    return _results(input.client_mutation_id, outcome)


async def unblock_user(context: Context, _roots: Sequence[object], *, input: UnblockUserInput) -> list[Result]:
    """Take a block back; what it cut stays cut."""
    return _results(input.client_mutation_id, await blocks.unblock(context, input.user_id))


async def remove_follower(context: Context, _roots: Sequence[object], *, input: RemoveFollowerInput) -> list[Result]:
    """End a person's follow of the viewer; the person is not told."""
    return _results(input.client_mutation_id, await follows.remove_follower(context, input.user_id))


async def accept_follow_request(
    context: Context, _roots: Sequence[object], *, input: AcceptFollowRequestInput
) -> list[Result]:
    """Let a person follow who asks to."""
    return _results(input.client_mutation_id, await follows.accept_request(context, input.user_id))


async def reject_follow_request(
    context: Context, _roots: Sequence[object], *, input: RejectFollowRequestInput
) -> list[Result]:
    """Turn a person's request down; the person is not told."""
    return _results(input.client_mutation_id, await follows.reject_request(context, input.user_id))


async def cancel_follow_request(
    context: Context, _roots: Sequence[object], *, input: CancelFollowRequestInput
) -> list[Result]:
    """Withdraw the viewer's request."""
    return _results(input.client_mutation_id, await follows.cancel_request(context, input.user_id))


async def mute_user(context: Context, _roots: Sequence[object], *, input: MuteUserInput) -> list[Result]:
    """Mute a person: no notification tells of what the person does, and the person never learns of it."""
    outcome = await mutes.mute(context, input.user_id, expires_at=input.expires_at)
    return _results(input.client_mutation_id, outcome)


async def unmute_user(context: Context, _roots: Sequence[object], *, input: UnmuteUserInput) -> list[Result]:
    """Lift a mute."""
    return _results(input.client_mutation_id, await mutes.unmute(context, input.user_id))


async def mark_notifications_read(
    context: Context, _roots: Sequence[object], *, input: MarkNotificationsReadInput
) -> list[MarkResult]:
    """Mark notifications as read: all up to one, or some by id; a repeat changes nothing."""
    marked = await notification_marks.mark_read(context, up_to=input.up_to, ids=input.ids)
    return [MarkResult(input.client_mutation_id, marked.groups, marked.unread_count, marked.consistency_token)]


async def update_notification_preferences(
    context: Context, _roots: Sequence[object], *, input: UpdateNotificationPreferencesInput
) -> list[PreferencesResult]:
    """Change what the viewer wants to be told of, from now on."""
    treatments = {"followed": input.followed, "strangers": input.strangers, "new_accounts": input.new_accounts}
    given = {name: treatment for name, treatment in treatments.items() if treatment is not None}
    outcome = await notification_preferences.update_preferences(context, given, input.new_account_days)
    return [
        PreferencesResult(input.client_mutation_id, outcome.preferences, outcome.user_errors, outcome.consistency_token)
    ]


async def update_profile(context: Context, _roots: Sequence[object], *, input: UpdateProfileInput) -> list[Result]:
    """Change the viewer's own profile."""
    texts = {
        "displayName": input.display_name,
        "bio": input.bio,
        "avatarUrl": input.avatar_url,
        "pronouns": input.pronouns,
        "location": input.location,
    }
    links = None if input.links is UNSET else [ProfileLink(link.label, link.url) for link in input.links or ()]
    given = {name: text for name, text in texts.items() if text is not UNSET}
    personal = {"phone": input.phone, "birthDate": input.birth_date}
    details = {name: value for name, value in personal.items() if value is not UNSET}
    edit = settings.ProfileEdit(given, links, input.expected_version, details)
    return _results(input.client_mutation_id, await settings.update_profile(context, edit))


async def update_privacy_settings(
    context: Context, _roots: Sequence[object], *, input: UpdatePrivacySettingsInput
) -> list[Result]:
    """Change who may see what of the viewer."""
    edit = policies.PrivacyEdit(
        preset=input.preset,
        is_private=input.is_private,
        audiences=[AudienceSetting(entry.group, entry.audience) for entry in input.audiences or ()],
        allow=input.allow,
        deny=input.deny,
        waiting_requests=input.waiting_requests,
        expected_version=input.expected_version,
    )
    return _results(input.client_mutation_id, await policies.update_privacy(context, edit))


async def delete_account(
    context: Context, _roots: Sequence[object], *, input: DeleteAccountInput
) -> list[DeletionResult]:
    """Delete the viewer's account: it is gone for everybody at once, and can be restored for 30 days.

    Takes a sign-in of the last ten minutes, else `STEP_UP_REQUIRED`.
    """
    deleted = await accounts.delete_own(context, input.confirmation)
    return [
        DeletionResult(
            input.client_mutation_id, deleted.restorable_until, deleted.user_errors, deleted.consistency_token
        )
    ]


async def request_data_export(
    context: Context, _roots: Sequence[object], *, input: RequestDataExportInput
) -> list[ExportResult]:
    """Ask for an archive of the viewer's own data, one at a time and one a day; `viewer.dataExport` shows its progress.

    Takes a sign-in of the last ten minutes, else `STEP_UP_REQUIRED`.
    """
    return [ExportResult(input.client_mutation_id, await exports.request_own(context))]


async def record_consent(
    context: Context, _roots: Sequence[object], *, input: RecordConsentInput
) -> list[ConsentResult]:
    """Record that the viewer agrees to a version of a text, or no longer does; `viewer.consents` keeps it."""
    recorded = await consents.record(context, input.purpose, input.version, granted=input.granted)
    return [ConsentResult(input.client_mutation_id, recorded.consent, recorded.user_errors, recorded.consistency_token)]


async def set_data_sharing(
    context: Context, _roots: Sequence[object], *, input: SetDataSharingInput
) -> list[SharingResult]:
    """Opt the viewer out of having data sold or shared with third parties, or in again.

    A request with `Sec-GPC: 1` is treated as opted out all the same.
    """
    recorded = await consents.set_data_sharing(context, opted_out=input.opted_out)
    return [SharingResult(input.client_mutation_id, recorded.sharing, recorded.user_errors, recorded.consistency_token)]


async def restore_account(context: Context, _roots: Sequence[object], *, input: RestoreAccountInput) -> list[Result]:
    """Bring the viewer's deleted account back, with the follows that nothing has forbidden since."""
    return _results(input.client_mutation_id, await accounts.restore_own(context))


async def change_username(context: Context, _roots: Sequence[object], *, input: ChangeUsernameInput) -> list[Result]:
    """Take another name; for 90 days the former one leads to the viewer, and nobody else may have it."""
    outcome = await usernames.rename(context, input.username, keep_former=input.keep_former)
    return _results(input.client_mutation_id, outcome)


async def remove_former_usernames(
    context: Context, _roots: Sequence[object], *, input: RemoveFormerUsernamesInput
) -> list[Result]:
    """Let the viewer's former names lead nowhere; nobody else may have them for 90 days."""
    return _results(input.client_mutation_id, await usernames.remove_former(context))


async def sign_out(context: Context, _roots: Sequence[object], *, input: SignOutInput) -> list[SignOutResult]:
    """End the session of the access token that asks, or everything that the viewer is signed in to.

    Within a second no such token is accepted any more, and every connection that it opened is closed.
    """
    await sessions.sign_out(context, everywhere=input.everywhere)
    return [SignOutResult(input.client_mutation_id)]


@strawberry.type
class Mutation:
    """What can be changed."""

    follow_user: FollowUserPayload = mutation(Scope.SOCIAL, follow_user)
    unfollow_user: UnfollowUserPayload = mutation(Scope.SOCIAL, unfollow_user)
    block_user: BlockUserPayload = mutation(Scope.SOCIAL, block_user)
    unblock_user: UnblockUserPayload = mutation(Scope.SOCIAL, unblock_user)
    remove_follower: RemoveFollowerPayload = mutation(Scope.SOCIAL, remove_follower)
    accept_follow_request: AcceptFollowRequestPayload = mutation(Scope.SOCIAL, accept_follow_request)
    reject_follow_request: RejectFollowRequestPayload = mutation(Scope.SOCIAL, reject_follow_request)
    cancel_follow_request: CancelFollowRequestPayload = mutation(Scope.SOCIAL, cancel_follow_request)
    mute_user: MuteUserPayload = mutation(Scope.SOCIAL, mute_user)
    unmute_user: UnmuteUserPayload = mutation(Scope.SOCIAL, unmute_user)
    mark_notifications_read: MarkNotificationsReadPayload = mutation(
        Scope.NOTIFICATIONS,
        mark_notifications_read,
        size=ListSize(slicing_arguments=["input.ids"], sized_fields=["groups"]),
    )
    update_notification_preferences: UpdateNotificationPreferencesPayload = mutation(
        Scope.NOTIFICATIONS, update_notification_preferences
    )
    update_profile: UpdateProfilePayload = mutation(Scope.PROFILE, update_profile)
    update_privacy_settings: UpdatePrivacySettingsPayload = mutation(Scope.PRIVACY, update_privacy_settings)
    delete_account: DeleteAccountPayload = mutation(Scope.ACCOUNT, delete_account)
    record_consent: RecordConsentPayload = mutation(Scope.PRIVACY, record_consent)
    set_data_sharing: SetDataSharingPayload = mutation(Scope.PRIVACY, set_data_sharing)
    request_data_export: RequestDataExportPayload = mutation(Scope.ACCOUNT, request_data_export)
    restore_account: RestoreAccountPayload = mutation(Scope.ACCOUNT, restore_account)
    change_username: ChangeUsernamePayload = mutation(Scope.PROFILE, change_username)
    remove_former_usernames: RemoveFormerUsernamesPayload = mutation(Scope.PROFILE, remove_former_usernames)
    sign_out: SignOutPayload = mutation(Scope.ACCOUNT, sign_out)
