"""The closed sets of the schema: those of the domain, under the same names."""

import strawberry

from domain.errors import UserErrorCode
from domain.notifications import NotificationKind
from domain.policies import Audience, FieldGroup
from domain.relationships import FollowOrder, FollowState, WaitingRequests

for _enum, _description in (
    (UserErrorCode, "Why a mutation did not do what it was asked."),
    (NotificationKind, "Why a person is told."),
    (Audience, "Who may see a group of fields, from the fewest to all; a friend is a mutual follow."),
    (FieldGroup, "What can be shown or hidden as one."),
    (FollowOrder, "The order of follower and following lists, by the time of the follow."),
    (FollowState, "How far a follow has come."),
    (WaitingRequests, "What becomes of those who wait when a private account goes public."),
):
    strawberry.enum(_enum, description=_description)

__all__ = [
    "Audience",
    "FieldGroup",
    "FollowOrder",
    "FollowState",
    "NotificationKind",
    "UserErrorCode",
    "WaitingRequests",
]
