"""The closed sets of the schema: those of the domain, under the same names."""

import strawberry

from domain.consents import ConsentPurpose, ConsentSource
from domain.errors import UserErrorCode
from domain.notification_preferences import NotificationTreatment
from domain.notifications import NotificationKind
from domain.overflow import OverflowPolicy
from domain.policies import Audience, FieldGroup, PrivacyPreset
from domain.rate_limits import OperationClass
from domain.relationships import FollowOrder, FollowState, WaitingRequests
from domain.username_requirements import UsernameRequirementCode
from domain.usernames import UsernameProblem

_PRESETS = (
    "Named privacy settings, from the most open to the most closed. OPEN shows everybody all but email, phone and "
    "birth date, which no preset shows to anybody. STANDARD is what a new account has: like OPEN, but activity is for "
    "followers. SIGNED_IN is like STANDARD, but for whoever is signed in. FOLLOWERS makes the account private and is "
    "for followers only. CLOSED makes it private and shows nothing but the stub, even to those allowed."
)

for _enum, _description in (
    (UserErrorCode, "Why a mutation did not do what it was asked."),
    (UsernameProblem, "Why a name cannot be had: no name at all, not available, or the account lacks something."),
    (UsernameRequirementCode, "What an account needs before it may take a short name."),
    (
        ConsentPurpose,
        "What a decision of the viewer's is about; DATA_SHARING is selling and sharing as the CCPA has it.",
    ),
    (ConsentSource, "Who has said so: the person, or the browser by `Sec-GPC: 1`."),
    (NotificationKind, "Why a person is told."),
    (OperationClass, "What is limited by itself, whatever it costs; undoing counts as doing."),
    (NotificationTreatment, "Shown; shown apart, and neither told live nor counted; or not kept at all."),
    (
        OverflowPolicy,
        """What becomes of events that are not taken in time: end the stream with a cursor to resume after, leave out
the oldest, or all but the newest. How many were left out is told in `extensions.dropped` of the next.""",
    ),
    (Audience, "Who may see a group of fields, from the fewest to all; a friend is a mutual follow."),
    (FieldGroup, "What can be shown or hidden as one."),
    (PrivacyPreset, _PRESETS),
    (FollowOrder, "The order of follower and following lists, by the time of the follow."),
    (FollowState, "How far a follow has come."),
    (WaitingRequests, "What becomes of those who wait when a private account goes public."),
):
    strawberry.enum(_enum, description=_description)

__all__ = [
    "Audience",
    "ConsentPurpose",
    "ConsentSource",
    "FieldGroup",
    "FollowOrder",
    "FollowState",
    "NotificationKind",
    "NotificationTreatment",
    "OperationClass",
    "OverflowPolicy",
    "PrivacyPreset",
    "UserErrorCode",
    "UsernameProblem",
    "UsernameRequirementCode",
    "WaitingRequests",
]
