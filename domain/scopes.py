"""What an access token may be used for, group by group of operations; a token that names no scope is for everything."""

import enum


class Scope(enum.StrEnum):
    """A group of operations, as the `scope` of a token names it."""

    READ = "kith:read"
    SOCIAL = "kith:social"
    PROFILE = "kith:profile"
    PRIVACY = "kith:privacy"
    NOTIFICATIONS = "kith:notifications"
    ACCOUNT = "kith:account"
