"""What the viewer has agreed to and has refused."""

import datetime as dt
from collections.abc import Sequence

import strawberry

from domain.consents import DataSharing as Sharing
from domain.pages import page_request
from privacy.policy import Visible
from resolvers import consents as ledger
from resolvers.consents import ConsentPage
from resolvers.context import Context
from schema.enums import ConsentPurpose, ConsentSource
from schema.fields import derived
from schema.lists import PageInfo


@strawberry.type(description="A decision of the viewer's. The newest about a purpose is the one in force.")
class Consent:
    """Source: `domain.consents.Consent`."""

    at: dt.datetime
    purpose: ConsentPurpose = derived(lambda consent: consent.decision.purpose)
    granted: bool = derived(lambda consent: consent.decision.granted)
    version: str | None = derived(lambda consent: consent.decision.version)
    source: ConsentSource = derived(lambda consent: consent.decision.source)


@strawberry.type(description="A decision and its place.")
class ConsentEdge:
    """Source: `resolvers.consents.ConsentEdge`."""

    cursor: str
    node: Consent


@strawberry.type(description="A page of the viewer's decisions, the newest first.")
class ConsentConnection:
    """Source: `resolvers.consents.ConsentPage`."""

    edges: list[ConsentEdge]
    nodes: list[Consent]
    page_info: PageInfo


@strawberry.type(description="Whether the viewer's data may be sold or shared with third parties (CCPA).")
class DataSharing:
    """Source: `domain.consents.DataSharing`."""

    opted_out: bool = strawberry.field(
        description="What is in force for this request: what was decided last, or its own `Sec-GPC: 1`."
    )
    since: dt.datetime | None = strawberry.field(description="When that was decided; null where nothing was.")
    source: ConsentSource | None = strawberry.field(description="Who decided it; null where nobody has.")
    signalled: bool = strawberry.field(description="Whether this request carries `Sec-GPC: 1`.")


async def consents(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> list[ConsentPage]:
    """All that the viewer has agreed to, refused and taken back, the newest first. Nothing of it is ever changed.

    Give one of `first` and `last`, 1 to 100.
    """
    request = page_request(first, after, last, before)
    return [await ledger.fetch_ledger(context, owner, request) for owner in owners]


async def data_sharing(context: Context, owners: Sequence[Visible]) -> list[Sharing]:
    """Whether the viewer's data may be sold or shared with third parties."""
    return [await ledger.fetch_sharing(context, owner) for owner in owners]
