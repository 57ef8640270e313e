"""Import files: CSV, plain or gzipped, read as a stream; a row that cannot be read is told of and does not stop it."""

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import io
import itertools
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, TypeVar

from storage.import_rows import (
    EDGE_COLUMNS,
    FOLLOW_COLUMNS,
    FOLLOW_OPTIONS,
    USER_COLUMNS,
    USER_OPTIONS,
    BadRow,
    FollowRow,
    Reject,
    UserRow,
    parse_edge,
    parse_follow,
    parse_user,
    synthesise_user,
)

Row = TypeVar("Row")
Parse = Callable[[int, Mapping[str, str]], Row]
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), 127)}


class ImportFileError(Exception):
    """A file is not what the import needs; the message says which and why."""


class Columns(NamedTuple):
    """What the header may name, in any order."""

    required: Sequence[str]
    optional: Sequence[str] = ()


class Record(NamedTuple):
    """One row as it stands in the file; `line` is the first of its lines, `reason` says why it has no values."""

    line: int
    values: Mapping[str, str]
    text: str
    reason: str | None = None


class _Lines:
    """The lines of a file, remembering those of the row in hand."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._taken: list[str] = []
        self.count = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.count += 1
        self._taken.append(line)
        return line

    def take(self) -> str:
        """Give the text of the row in hand, and begin the next."""
        text = "".join(self._taken)
        self._taken.clear()
        return text


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal; raises ImportFileError."""
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_records(path: Path, columns: Columns) -> Generator[Record, None, None]:
    """Read the rows of a file, one at a time; blank lines are left out.

    Raises:
        ImportFileError: the file cannot be opened, is damaged, has no header or other columns than it should.
    """
    with _reading(path), _open(path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        names = _read_header(path, reader, columns)
        lines.take()
        while True:
            line = lines.count + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Record(line, {}, lines.take(), "broken quotes")
                continue
            text = lines.take()
            if fields:
                yield Record(line, dict(zip(names, fields, strict=False)), text, _objection(text, fields, names))


def check_header(path: Path, columns: Columns) -> None:
    """Fail before any work is done where `read_records` would at its start; raises ImportFileError."""
    with contextlib.closing(read_records(path, columns)) as records:
        next(records, None)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ImportFileError(f"{path} does not exist.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ImportFileError(f"{path} cannot be read: {error}.") from error


def _open(path: Path) -> io.TextIOWrapper:
    # Bytes that are not UTF-8 become surrogates here, and an objection to their row below.
    raw = gzip.GzipFile(path) if path.suffix == ".gz" else io.FileIO(path)
    return io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_header(path: Path, reader: Iterator[list[str]], columns: Columns) -> list[str]:
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise ImportFileError(f"{path} has a header that cannot be read: {error}.") from error
    if not names:
        raise ImportFileError(f"{path} is empty; its first line has to name the columns.")
    if missing := [name for name in columns.required if name not in names]:
        raise ImportFileError(f"{path} lacks the column {', '.join(missing)}.")
    if unknown := [name for name in names if name not in (*columns.required, *columns.optional)]:
        known = ", ".join((*columns.required, *columns.optional))
        raise ImportFileError(f"{path} has the unknown column {', '.join(map(repr, unknown))}; known are {known}.")
    if len(set(names)) < len(names):
        raise ImportFileError(f"{path} names a column twice.")
    return names


def _objection(text: str, fields: Sequence[str], names: Sequence[str]) -> str | None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "not UTF-8"
    return None if len(fields) == len(names) else "wrong number of columns"


def _rows(path: Path, columns: Columns, parse: Parse[Row]) -> Iterator[Row | Reject]:
    for record in read_records(path, columns):
        if record.reason is not None:
            yield Reject(record.line, record.reason)
            continue
        try:
            yield parse(record.line, record.values)
        except BadRow as bad:
            yield Reject(record.line, str(bad))


@dataclasses.dataclass(frozen=True, slots=True)
class TwoFiles:
    """A service's users and follows, in its own ids."""

    mutual: ClassVar[bool] = False
    users: Path
    follows: Path

    @property
    def parts(self) -> tuple[tuple[Path, Columns], tuple[Path, Columns]]:
        """Give the file of the users and that of the follows, with their columns."""
        follows = Columns(FOLLOW_COLUMNS, FOLLOW_OPTIONS)
        return (self.users, Columns(USER_COLUMNS, USER_OPTIONS)), (self.follows, follows)

    def read_users(self) -> Iterator[UserRow | Reject]:
        """Read the users."""
        return _rows(*self.parts[0], parse_user)

    def read_follows(self) -> Iterator[FollowRow | Reject]:
        """Read the follows."""
        return _rows(*self.parts[1], parse_follow)


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeList:
    """Pairs of numbers that follow each other; the users are made of the numbers."""

    mutual: ClassVar[bool] = True
    path: Path

    @property
    def parts(self) -> tuple[tuple[Path, Columns], tuple[Path, Columns]]:
        """Give the one file twice."""
        part = (self.path, Columns(EDGE_COLUMNS))
        return part, part

    def read_users(self) -> Iterator[UserRow]:
        """Make a user of each number, where it first stands; the numbers seen are kept in memory.

        Bad rows are left out here: `read_follows` tells of them.
        """
        seen: set[str] = set()
        for row in self.read_follows():
            for number in () if isinstance(row, Reject) else (row.follower, row.followee):
                if number not in seen:
                    seen.add(number)
                    yield synthesise_user(row.line, number)

    def read_follows(self) -> Iterator[FollowRow | Reject]:
        """Read the pairs."""
        return _rows(*self.parts[1], parse_edge)


Files = TwoFiles | EdgeList


def run_key(files: Files, source: str) -> str:
    """Name the run that loads these files, by what they hold, for this source; raises ImportFileError."""
    for path, columns in files.parts:
        check_header(path, columns)
    parts = (source, type(files).__name__, *(digest(path) for path, _ in files.parts))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def batched(rows: Iterator[Row], size: int, *, skip: int) -> Iterator[list[Row]]:
    """Cut what follows the first `skip` rows into lists of `size`."""
    rest = itertools.islice(rows, skip, None)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def quote_record(record: Record) -> str:
    """Give a row in printable UTF-8, its line breaks kept; other bytes are written in hexadecimal."""
    text = record.text.rstrip("\r\n").encode(errors="surrogateescape").decode(errors="backslashreplace")
    return text.translate(_ESCAPES)
