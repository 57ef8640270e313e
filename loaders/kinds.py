"""What is remembered, one declaration per kind: its key and form, how long it is kept, and what ends it."""

import dataclasses
import datetime as dt
import itertools
import operator
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from domain.relationships import STRANGERS, ListKind, Relationship
from domain.tallies import ID_BYTES, MARK_BYTES, Blocks, Tally
from domain.users import Counts, User
from loaders.user_form import decode_user, encode_user
from loaders.weights import FACT, weigh_blocks, weigh_side, weigh_tally, weigh_user
from storage.epochs import epoch_key, profile_epoch_key
from storage.freshness import NAME_TTL_S, encode_name, name_entry_key
from storage.list_entries import PLACE_BYTES

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

HEAD: Final = 128
"""How many entries of the newest end of a list are remembered together."""
SIDE: Final = 256
"""Up to how many pairs everything about a viewer is read and remembered as one."""
BLOCKS_AT_MOST: Final = 4096
"""Up to how many blocks of a viewer with more pairs are remembered."""


class SideKey(NamedTuple):
    """A viewer's side, as of an epoch of the viewer; see `Caches.begin`."""

    viewer_id: int
    epoch: bytes


class PairKey(NamedTuple):
    """What a viewer is to one other, as of the viewer's epoch."""

    viewer_id: int
    epoch: bytes
    other_id: int


class _Blocking:
    """Room for the blocks beside the fields: not compared or stored."""

    __slots__ = ("_blocks",)
    _blocks: Blocks


@dataclasses.dataclass(frozen=True, slots=True)
class Side(_Blocking):
    """Everything that a viewer is to others; where they are too many, nothing but that."""

    pairs: Mapping[int, Relationship]
    complete: bool

    def to(self, other_id: int) -> Relationship:
        """Give what the viewer is to somebody."""
        return self.pairs.get(other_id, STRANGERS)

    def with_pair(self, other_id: int, pair: Relationship) -> "Side | None":
        """Give the side as it is once a pair has changed, but for the mute, which is not the pair's; None if too much.

        A pair that is known in a later version stays.
        """
        before = self.to(other_id)
        if not self.complete or before.version >= pair.version:
            return self
        if len(self.pairs) >= SIDE and other_id not in self.pairs:
            return None
        pair = msgspec.structs.replace(pair, mutes=before.mutes, mutes_until=before.mutes_until)
        side = Side({**self.pairs, other_id: pair}, complete=True)
        if hasattr(self, "_blocks") and _block_of(before) == _block_of(pair):
            object.__setattr__(side, "_blocks", self._blocks)
        return side

    def to_all(self, other_ids: Sequence[int]) -> list[Relationship]:
        """Give what the viewer is to many people."""
        return list(map(self.pairs.get, other_ids, itertools.repeat(STRANGERS)))

    @property
    def blocks(self) -> Blocks:
        """Give the viewer's blocks, picked out once."""
        try:
            return self._blocks
        except AttributeError:
            object.__setattr__(self, "_blocks", blocks := Blocks.among(self.pairs))
            return blocks


def _block_of(pair: Relationship) -> tuple[object, ...]:
    return pair.blocks, pair.blocks_until, pair.blocked_by, pair.blocked_by_until


class Head(NamedTuple):
    """The packed places of a list's newest rows, before anything is left out; `whole` where there are no others."""

    places: bytes
    whole: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Kind(Generic[K, V]):
    """One kind of fact.

    A fact holds under the epoch whose key `epoch_of` names, or, where it has versions, until a higher one is written.
    `key` is given the generation of its owner's cell. Times are seconds, from the moment of storing.
    """

    name: str
    key: Callable[[int, K], str]
    owner_of: Callable[[K], int]
    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]
    missing: V
    ttl: float
    missing_ttl: float
    weigh: Callable[[V], int] = lambda _value: FACT
    """How many bytes a value takes in the memory of a process, its key and its entry aside."""
    epoch_of: Callable[[K], str] | None = None
    version_of: Callable[[V], int] | None = None
    viewer_of: Callable[[K], int] | None = None
    """Whose own such a fact is: requests of others never wait for one fetch with the viewer's, nor share a batch."""
    place_of: Callable[[K], Hashable] | None = None
    """Where memory has the fact: it takes the room of the one under the epoch before. None: the key is the place."""

    @property
    def shared(self) -> bool:
        """Tell whether requests of several viewers may wait for one fetch."""
        return self.viewer_of is None

    def ttl_of(self, value: V) -> float:
        """Tell how long a value is kept."""
        if self.missing_ttl == self.ttl:
            return self.ttl  # to compare a value takes longer than all else here
        return self.missing_ttl if value == self.missing else self.ttl


def _key(name: str, suffix: str = "") -> Callable[[int, int], str]:
    return lambda generation, user_id: f"{name}{generation}:{{{user_id}}}{suffix}"


_COUNTS: Final = struct.Struct(">QQ")
_LIST: Final = struct.Struct(">H")
_TOO_MANY: Final = _COUNTS.size + ID_BYTES
_IDS: Final = _COUNTS.size + _LIST.size + MARK_BYTES
_CUT, _WHOLE = b"\0", b"\1"
_SIDES: Final = msgspec.msgpack.Decoder(tuple[bool, dict[int, Relationship]])
_PAIRS: Final = msgspec.msgpack.Decoder(Relationship)
_BLOCKS: Final = msgspec.msgpack.Decoder(dict[int, dt.datetime | None] | None)


def _encode_tally(tally: Tally) -> bytes:
    counts = _COUNTS.pack(tally.counts.followers, tally.counts.following)
    if tally.followers is None or tally.following is None:
        return counts + tally.reading
    length = _LIST.pack(len(tally.followers) // ID_BYTES)
    return counts + length + tally.mark().to_bytes(MARK_BYTES) + tally.followers + tally.following


def _decode_tally(value: bytes) -> Tally:
    if len(value) == _TOO_MANY:
        return Tally(Counts(*_COUNTS.unpack_from(value)), None, None, value[_COUNTS.size :])
    if len(value) < _IDS or (len(value) - _IDS) % ID_BYTES:
        raise ValueError("no tally has this length")
    counts, [length] = Counts(*_COUNTS.unpack_from(value)), _LIST.unpack_from(value, _COUNTS.size)
    end = _IDS + length * ID_BYTES
    if end > len(value):
        raise ValueError("no tally lacks some of its followers")
    return Tally(counts, value[_IDS:end], value[end:], marks=int.from_bytes(value[_IDS - MARK_BYTES : _IDS]))


def _encode_head(head: Head) -> bytes:
    return (_WHOLE if head.whole else _CUT) + head.places


def _decode_head(value: bytes) -> Head:
    which, places = value[:1], value[1:]
    if which not in {_WHOLE, _CUT} or len(places) % PLACE_BYTES:
        raise ValueError("no head of a list has this form")
    return Head(places, which == _WHOLE)


def _decode_side(value: bytes) -> Side:
    complete, pairs = _SIDES.decode(value)
    return Side(pairs, complete)


# Every change of the profile, the policy or the state renews the profile's epoch.
USERS: Final[Kind[int, User | None]] = Kind(
    name="user",
    key=_key("user"),
    owner_of=int,
    encode=encode_user,
    decode=decode_user,
    missing=None,
    ttl=600.0,
    missing_ttl=5.0,
    weigh=weigh_user,
    epoch_of=profile_epoch_key,
)

# Names are kept in the first cell.
NAMES: Final[Kind[str, int | None]] = Kind(
    name="name",
    key=name_entry_key,
    owner_of=lambda _name: 0,
    encode=encode_name,
    decode=lambda value: int.from_bytes(value) if value else None,
    missing=None,
    ttl=NAME_TTL_S,
    missing_ttl=2.0,
    version_of=lambda user_id: 1 if user_id is not None else 0,
)

# Every edge that comes or goes renews the epochs of both its people.
TALLIES: Final[Kind[int, Tally]] = Kind(
    name="tally",
    key=_key("tally"),
    owner_of=int,
    encode=_encode_tally,
    decode=_decode_tally,
    missing=Tally(Counts()),
    ttl=120.0,
    missing_ttl=120.0,
    weigh=weigh_tally,
    epoch_of=epoch_key,
)


def _heads(kind: ListKind) -> Kind[int, Head]:
    return Kind(
        name=kind.value,
        key=_key(kind.value),
        owner_of=int,
        encode=_encode_head,
        decode=_decode_head,
        missing=Head(b"", whole=True),
        ttl=120.0,
        missing_ttl=5.0,
        weigh=lambda head: FACT + len(head.places),
        epoch_of=epoch_key,
    )


HEADS: Final = {kind: _heads(kind) for kind in (ListKind.FOLLOWERS, ListKind.FOLLOWING)}

SIDES: Final[Kind[SideKey, Side]] = Kind(
    name="side",
    key=lambda generation, key: f"side{generation}:{{{key.viewer_id}}}",
    owner_of=lambda key: key.viewer_id,
    encode=lambda side: msgspec.msgpack.encode((side.complete, side.pairs)),
    decode=_decode_side,
    missing=Side({}, complete=True),
    ttl=600.0,
    missing_ttl=600.0,
    weigh=lambda side: weigh_side(len(side.pairs)),
    epoch_of=lambda key: epoch_key(key.viewer_id),
    viewer_of=lambda key: key.viewer_id,
    place_of=operator.attrgetter("viewer_id"),
)

PAIRS: Final[Kind[PairKey, Relationship]] = Kind(
    name="pair",
    key=lambda generation, key: f"pair{generation}:{{{key.viewer_id}}}{key.other_id}",
    owner_of=lambda key: key.viewer_id,
    encode=msgspec.msgpack.encode,
    decode=_PAIRS.decode,
    missing=STRANGERS,
    ttl=600.0,
    missing_ttl=600.0,
    weigh=lambda _pair: weigh_side(1),
    epoch_of=lambda key: epoch_key(key.viewer_id),
    viewer_of=lambda key: key.viewer_id,
)

# Of viewers whose side is not remembered as one: there the blocks are part of it.
BLOCKS: Final[Kind[SideKey, Blocks]] = Kind(
    name="blocks",
    key=lambda generation, key: f"blocks{generation}:{{{key.viewer_id}}}",
    owner_of=lambda key: key.viewer_id,
    encode=lambda blocks: msgspec.msgpack.encode(blocks.ends),
    decode=lambda value: Blocks(_BLOCKS.decode(value)),
    missing=Blocks({}),
    ttl=600.0,
    missing_ttl=600.0,
    weigh=lambda blocks: weigh_blocks(len(blocks.ends or ())),
    epoch_of=lambda key: epoch_key(key.viewer_id),
    viewer_of=lambda key: key.viewer_id,
)
