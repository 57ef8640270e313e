"""Names: whether one may be had, and what an account needs for it."""

import strawberry

from schema.costs import ListSize
from schema.enums import UsernameProblem, UsernameRequirementCode


@strawberry.type
class UsernameRequirement:
    """Source: `domain.username_requirements.UsernameRequirement`."""

    code: UsernameRequirementCode
    message: str
    is_met: bool


@strawberry.type
class UsernameAvailability:
    """Source: `resolvers.usernames.Availability`. The requirements are those of a short name, for this viewer."""

    username: str
    is_available: bool
    problem: UsernameProblem | None
    suggestions: list[str]
    requirements: list[UsernameRequirement] = strawberry.field(directives=[ListSize(assumed_size=3)])
