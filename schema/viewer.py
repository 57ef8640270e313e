"""The owner's own side: requests, blocks, mutes, limits, the policy, and how others see one."""

from collections.abc import Sequence
from typing import Annotated, Final

import strawberry

from domain.pages import page_request
from domain.relationships import ListKind
from privacy.policy import Visible
from privacy.rules import Decision
from resolvers import own
from resolvers.context import Context
from resolvers.lists import FollowerPage
from resolvers.own import FollowLimit as Limit
from resolvers.own import PolicyView
from schema.audit import AuditConnection, audit_log
from schema.consents import ConsentConnection, DataSharing, consents, data_sharing
from schema.costs import PAGE, Cost, ListSize
from schema.data_exports import DataExport, data_export
from schema.enums import Audience, FieldGroup, PrivacyPreset
from schema.fields import LevelFunction, derived, level
from schema.lists import FollowerConnection
from schema.notification_groups import NotificationConnection, notifications, unread_notifications_count
from schema.notification_preferences import NotificationPreferences, notification_preferences
from schema.users import User

Connection = Annotated[FollowerConnection, strawberry.lazy("schema.lists")]
GROUPS: Final = ListSize(assumed_size=len(FieldGroup))


@strawberry.type(description="How many people the viewer may follow.")
class FollowLimit:
    """Source: `resolvers.own.FollowLimit`."""

    limit: int
    used: int
    remaining: int


@strawberry.type(description="Who may see one group of fields.")
class AudienceSetting:
    """Source: `domain.policies.AudienceSetting`."""

    group: FieldGroup
    audience: Audience


@strawberry.type(description="What a preset sets: everything but the lists.")
class PresetTerms:
    """Source: `resolvers.own.PresetTerms`."""

    preset: PrivacyPreset
    is_private: bool
    audiences: list[AudienceSetting] = strawberry.field(directives=[GROUPS])


@strawberry.type(description="The viewer's privacy policy.")
class PrivacySettings:
    """Source: `resolvers.own.PolicyView`."""

    version: int
    is_private: bool
    preset: PrivacyPreset | None = strawberry.field(
        description="The preset that the settings equal, whatever the lists; null where they equal none."
    )
    audiences: list[AudienceSetting] = strawberry.field(directives=[GROUPS])
    allow: list[strawberry.ID]
    deny: list[strawberry.ID]
    presets: list[PresetTerms] = strawberry.field(
        description="All presets, and what choosing each would set.",
        directives=[ListSize(assumed_size=len(PrivacyPreset))],
    )


@strawberry.type(description="Whether somebody sees a group of fields, and the rule that says so.")
class PrivacyDecision:
    """Source: `privacy.rules.Decision`."""

    allowed: bool
    rule: str


def own_list(kind: ListKind, description: str) -> LevelFunction:
    """Make the level function of one of the lists that only their owner sees."""

    async def pages(
        context: Context,
        owners: Sequence[Visible],
        *,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> list[FollowerPage]:
        request = page_request(first, after, last, before)
        return [await own.fetch_own_page(context, owner, kind, request) for owner in owners]

    pages.__doc__ = description
    return pages


async def follow_limit(context: Context, owners: Sequence[Visible]) -> list[Limit]:
    """How many people the viewer may follow, shown before it is met."""
    return [await own.fetch_follow_limit(context, owner) for owner in owners]


async def privacy_settings(context: Context, owners: Sequence[Visible]) -> list[PolicyView]:
    """Who may see what of the viewer."""
    return [await own.read_own_policy(context, owner) for owner in owners]


async def view_as(
    context: Context,
    owners: Sequence[Visible],
    *,
    audience: Audience | None = None,
    user_id: strawberry.ID | None = None,
) -> list[Visible | None]:
    """The viewer's profile as exactly one of an audience and a person meets it; null where it is not met at all."""
    return [await own.view_as(context, owner, audience=audience, opaque_id=user_id) for owner in owners]


async def privacy_explain(
    context: Context, owners: Sequence[Visible], *, user_id: strawberry.ID, group: FieldGroup
) -> list[Decision | None]:
    """The rule by which a person does or does not see a group of the viewer's fields; null where nobody is there."""
    return [await own.explain(context, owner, opaque_id=user_id, group=group) for owner in owners]


@strawberry.type(description="What only the signed-in person sees.")
class Viewer:
    """Source: `Visible`, the viewer's own."""

    user: User = derived(lambda viewer: viewer)
    follow_requests: Connection = level(own_list(ListKind.REQUESTS, "Who asks to follow the viewer."), size=PAGE)
    sent_follow_requests: Connection = level(own_list(ListKind.ASKED, "Whom the viewer asks to follow."), size=PAGE)
    blocks: Connection = level(own_list(ListKind.BLOCKED, "Whom the viewer blocks, as stubs."), size=PAGE)
    mutes: Connection = level(own_list(ListKind.MUTED, "Whom the viewer mutes."), size=PAGE)
    follow_limit: FollowLimit = level(follow_limit, cost=Cost(weight=2))
    privacy_settings: PrivacySettings = level(privacy_settings)
    notifications: NotificationConnection = level(notifications, size=PAGE)
    unread_notifications_count: int = level(unread_notifications_count, cost=Cost(weight=1))
    notification_preferences: NotificationPreferences = level(notification_preferences)
    audit_log: AuditConnection = level(audit_log, size=PAGE)
    consents: ConsentConnection = level(consents, size=PAGE)
    data_sharing: DataSharing = level(data_sharing, cost=Cost(weight=1))
    data_export: DataExport | None = level(data_export, cost=Cost(weight=1))
    view_as: User | None = level(view_as, cost=Cost(weight=2))
    privacy_explain: PrivacyDecision | None = level(privacy_explain, cost=Cost(weight=2))
