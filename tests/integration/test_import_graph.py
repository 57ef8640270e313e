"""Importing another service's people and follows, on one cell and on two."""

import asyncio
import csv
import datetime as dt
import itertools
import os
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from domain.relationships import FollowState, Relationship
from domain.transitions import block, follow, unfollow
from domain.users import Counts, UserState
from storage import import_graph, import_runs
from storage.cells import Record
from storage.database import Database
from storage.import_files import EdgeList, Files, TwoFiles
from storage.import_runs import AnotherImport, open_import
from storage.mutes import Mute, change_mute
from storage.pairs import change_pair
from storage.relationships import fetch_relationships
from storage.tallies import fetch_tallies
from storage.users import fetch_ids_by_name, fetch_users
from tests.conftest import MakePerson

_ROOT = Path(import_graph.__file__).parent.parent
NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
Pair = tuple[str, str]

_ROWS = "SELECT * FROM relationships WHERE owner_id = ANY($1::bigint[])"
_PROGRESS = """
SELECT coalesce((SELECT sum(people_read) FROM import_runs WHERE finished_at IS NULL), 0)
       + coalesce((SELECT sum(follows_read) FROM import_staged), 0)
       + coalesce((SELECT sum(loaded) FROM import_positions), 0)
"""


@pytest.fixture
def prefix() -> str:
    """Give what the names of a test begin with: the databases are everybody's."""
    return f"i{secrets.token_hex(5)}."


def write(path: Path, header: str, rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(rows)
    return path


def two_files(folder: Path, prefix: str, people: Iterable[str], follows: Iterable[Pair]) -> TwoFiles:
    """Write files in which old id and name are the same but for the prefix."""
    users = write(folder / "users.csv", "id,username", ((name, prefix + name) for name in people))
    return TwoFiles(users, write(folder / "follows.csv", "follower_id,followee_id", follows))


async def load(
    dsns: tuple[str, ...], files: Files, source: str, *, batch: int = 1000, rejects: Path | None = None
) -> None:
    async with open_import(dsns) as cells:
        await import_graph.import_files(cells, files, source=source, batch=batch, rejects=rejects)


async def ids_of(database: Database, prefix: str, people: Iterable[str]) -> dict[str, int]:
    found = await fetch_ids_by_name(database, [prefix + name for name in people])
    return {key.removeprefix(prefix): user_id for key, user_id in found.items()}


async def rows_of(database: Database, ids: Iterable[int]) -> dict[tuple[int, int], Record]:
    rows = await database.shards.fetch_by_home(_ROWS, ids)
    return {(row["owner_id"], row["other_id"]): row for row in rows}


async def follows_of(database: Database, ids: dict[str, int]) -> set[Pair]:
    """Read who follows whom, having checked that the sides agree and that the counters are right."""
    names = {user_id: name for name, user_id in ids.items()}
    rows = await rows_of(database, ids.values())
    for (owner, other), row in rows.items():
        mirror = rows[other, owner]
        assert row["version"] == mirror["version"] >= (row["follows"] or row["followed_by"]) / 2
        for there, here in (("follows", "followed_by"), ("follows_at", "followed_by_at"), ("blocks", "blocked_by")):
            assert (row[there], row[here]) == (mirror[here], mirror[there])
    found = {(names[owner], names[other]) for (owner, other), row in rows.items() if row["follows"] == 2}
    await check_counts(database, ids, found)
    return found


async def check_counts(database: Database, ids: dict[str, int], follows: set[Pair]) -> None:
    following, followers = Counter(name for name, _ in follows), Counter(name for _, name in follows)
    tallies = await fetch_tallies(database, list(ids.values()))
    found = {name: tallies[user_id].counts for name, user_id in ids.items()}
    assert found == {name: Counts(followers[name], following[name]) for name in ids}


async def test_people_come_with_their_profiles_and_live_in_all_cells(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    header = "created_at,bio,username,id,is_private,display_name"
    people = [("2024-05-01T12:00:00Z", "Tea, \nmostly", f"{prefix.upper()}ana", "1", "true", "Ana")]
    people += [("", "", f"{prefix}{number}x", str(number), "", "") for number in range(2, 6)]
    files = TwoFiles(
        write(tmp_path / "users.csv", header, people),
        write(tmp_path / "follows.csv", "followed_at,follower_id,followee_id", [("2024-05-01T12:00:00Z", "1", "2")]),
    )
    await load(dsns, files, prefix)
    ids = await ids_of(database, prefix, ["ana", "2x", "3x", "4x", "5x"])
    users = await fetch_users(database, list(ids.values()))
    ana = users[ids["ana"]]
    assert (ana.username, ana.display_name, ana.bio) == (f"{prefix.upper()}ana", "Ana", "Tea, \nmostly")
    assert (ana.created_at, ana.policy.is_private, ana.state) == (NOW, True, UserState.ACTIVE)
    assert not users[ids["2x"]].policy.is_private
    assert {database.shards.home(user_id) for user_id in ids.values()} == set(database.shards.cells)
    [side] = (await fetch_relationships(database, ids["ana"], [ids["2x"]])).values()
    assert side == Relationship(follows=FollowState.ACTIVE, follows_at=NOW, version=1)


async def test_bad_rows_are_put_aside_with_line_and_reason_and_the_rest_is_loaded(
    database: Database, dsns: tuple[str, ...], make_person: MakePerson, prefix: str, tmp_path: Path
) -> None:
    taken = await make_person()
    users, follows, rejects = tmp_path / "users.csv", tmp_path / "follows.csv", tmp_path / "rejects.csv"
    users.write_bytes(
        b"id,username,bio,created_at,is_private\n"
        + f"1,{prefix}ana,,,\n".encode()
        + f"1,{prefix}again,,,\n".encode()
        + f"2,{prefix.upper()}ANA,,,\n".encode()
        + f"3,{taken.name},,,\n".encode()
        + b"4,,,,\n"
        + b"5,no spaces,,,\n"
        + b"6,admin,,,\n"
        + f"7,{prefix}7,{'x' * 501},,\n".encode()
        + f"8,{prefix}8,a\0b,,\n".encode()
        + f"9,{prefix}9,,31.12.2020,\n".encode()
        + f"10,{prefix}10,,,maybe\n".encode()
        + f"11,{prefix}11,\n".encode()
        + f"12,{prefix}12,\xff,,\n".encode("latin-1")
        + f'13,{prefix}13,"a"b,,\n'.encode()
        + f"14,{prefix}bo,,,false\n".encode()
    )
    follows.write_bytes(
        b"follower_id,followee_id,followed_at\n1,14,\n14,1,\n1,14,\n1,1,\n1,2,\n99,1,\n1,,\n1,14,soon\n"
    )
    await load(dsns, TwoFiles(users, follows), prefix, batch=4, rejects=rejects)
    with rejects.open(newline="") as file:
        found = [tuple(row) for row in csv.reader(file)]
    assert found == [
        ("file", "line", "reason", "row"),
        ("users.csv", "3", "duplicate id", f"1,{prefix}again,,,"),
        ("users.csv", "4", "username taken", f"2,{prefix.upper()}ANA,,,"),
        ("users.csv", "5", "username taken", f"3,{taken.name},,,"),
        ("users.csv", "6", "missing username", "4,,,,"),
        ("users.csv", "7", "invalid username", "5,no spaces,,,"),
        ("users.csv", "8", "reserved username", "6,admin,,,"),
        ("users.csv", "9", "bio is too long", f"7,{prefix}7,{'x' * 501},,"),
        ("users.csv", "10", "control character in bio", f"8,{prefix}8,a\\x00b,,"),
        ("users.csv", "11", "bad date in created_at", f"9,{prefix}9,,31.12.2020,"),
        ("users.csv", "12", "bad boolean in is_private", f"10,{prefix}10,,,maybe"),
        ("users.csv", "13", "wrong number of columns", f"11,{prefix}11,"),
        ("users.csv", "14", "not UTF-8", f"12,{prefix}12,\\xff,,"),
        ("users.csv", "15", "broken quotes", f'13,{prefix}13,"a"b,,'),
        ("follows.csv", "4", "duplicate follow", "1,14,"),
        ("follows.csv", "5", "self-follow", "1,1,"),
        ("follows.csv", "6", "unknown followee", "1,2,"),
        ("follows.csv", "7", "unknown follower", "99,1,"),
        ("follows.csv", "8", "missing followee_id", "1,,"),
        ("follows.csv", "9", "bad date in followed_at", "1,14,soon"),
    ]
    ids = await ids_of(database, prefix, ["ana", "bo", *map(str, range(20))])
    assert ids.keys() == {"ana", "bo"}
    assert await follows_of(database, ids) == {("ana", "bo"), ("bo", "ana")}


async def test_an_import_that_is_repeated_changes_nothing(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = two_files(tmp_path, prefix, "abca", [("a", "b"), ("b", "a"), ("c", "a"), ("c", "x")])
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    await load(dsns, files, prefix, rejects=first)
    ids = await ids_of(database, prefix, "abc")
    before = await rows_of(database, ids.values())
    await change_pair(database, ids["c"], ids["a"], unfollow(), NOW)
    capsys.readouterr()
    await load(dsns, files, prefix, rejects=second)
    said = capsys.readouterr().out
    assert "nothing is changed" in said
    assert "Loaded 3 people and 3 follows" in said
    assert first.read_text() == second.read_text()
    assert await follows_of(database, ids) == {("a", "b"), ("b", "a")}
    await change_pair(database, ids["c"], ids["a"], follow(target_is_private=False), NOW)
    assert (await rows_of(database, ids.values())).keys() == before.keys()


async def test_a_later_export_adds_what_is_new_to_the_same_people(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    await load(dsns, two_files(tmp_path, prefix, "ab", [("a", "b")]), prefix)
    before = await ids_of(database, prefix, "ab")
    rejects = tmp_path / "rejects.csv"
    grown = two_files(tmp_path, prefix, "bcab", [("a", "b"), ("b", "a"), ("c", "b")])
    await load(dsns, grown, prefix, rejects=rejects)
    ids = await ids_of(database, prefix, "abc")
    assert (ids["a"], ids["b"]) == (before["a"], before["b"])
    assert await follows_of(database, ids) == {("a", "b"), ("b", "a"), ("c", "b")}
    side = (await fetch_relationships(database, ids["a"], [ids["b"]]))[ids["b"]]
    assert side.version == 2
    assert "users.csv,5,duplicate id" in rejects.read_text()


async def test_blocks_stand_and_follows_are_merged(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    people = "abcdefgh"
    await load(dsns, two_files(tmp_path, prefix, people, []), prefix)
    ids = await ids_of(database, prefix, people)
    await change_pair(database, ids["a"], ids["b"], block(until=None), NOW)
    await change_pair(database, ids["d"], ids["c"], block(until=dt.datetime(2024, 6, 1, tzinfo=dt.UTC)), NOW)
    await change_pair(database, ids["e"], ids["f"], follow(target_is_private=False), NOW)
    await change_pair(database, ids["h"], ids["g"], follow(target_is_private=True), NOW)
    wanted = [("a", "b"), ("b", "a"), ("c", "d"), ("e", "f"), ("f", "e"), ("h", "g"), ("a", "c")]
    rejects = tmp_path / "rejects.csv"
    await load(dsns, two_files(tmp_path, prefix, people, wanted), prefix, rejects=rejects)
    assert await follows_of(database, ids) == {("e", "f"), ("f", "e"), ("h", "g"), ("a", "c")}
    [blocked] = (await fetch_relationships(database, ids["b"], [ids["a"]])).values()
    assert blocked == Relationship(blocked_by=True, blocked_by_since=NOW, version=1)
    [merged] = (await fetch_relationships(database, ids["e"], [ids["f"]])).values()
    assert (merged.follows_at, merged.version) == (NOW, 2)
    assert [row.split(",")[1:3] for row in rejects.read_text().splitlines()[1:]] == [
        [line, "one of the two has blocked the other"] for line in "234"
    ]


async def test_mutes_are_left_alone(database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path) -> None:
    await load(dsns, two_files(tmp_path, prefix, "abc", []), prefix)
    ids = await ids_of(database, prefix, "abc")
    for owner, other in itertools.permutations("abc", 2):
        await change_mute(database, ids[owner], ids[other], Mute(until=None))
    await load(dsns, two_files(tmp_path, prefix, "abc", [("a", "b"), ("b", "c"), ("c", "b")]), prefix)
    assert await follows_of(database, ids) == {("a", "b"), ("b", "c"), ("c", "b")}
    rows = await rows_of(database, ids.values())
    assert all(row["mutes"] for row in rows.values())
    assert rows[ids["a"], ids["c"]]["version"] == 0


async def test_counters_in_slots_are_counted_and_a_wrong_one_is_found(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    await load(dsns, two_files(tmp_path, prefix, "abc", []), prefix)
    ids = await ids_of(database, prefix, "abc")
    home = database.shards.home(ids["a"])
    async with open_import(dsns) as cells:
        wrong = sum(check.wrong for check in await import_runs.check_counts(cells))
        await home.fetch("UPDATE user_counts SET slotted = true WHERE user_id = $1", ids["a"])
        await change_pair(database, ids["b"], ids["a"], follow(target_is_private=False), NOW)
    await load(dsns, two_files(tmp_path, prefix, "abc", [("b", "a"), ("c", "a")]), prefix)
    assert await follows_of(database, ids) == {("b", "a"), ("c", "a")}
    async with open_import(dsns) as cells:
        assert sum(check.wrong for check in await import_runs.check_counts(cells)) == wrong
        await home.fetch("UPDATE user_counts SET following = following + 1 WHERE user_id = $1", ids["a"])
        assert sum(check.wrong for check in await import_runs.check_counts(cells)) == wrong + 1
        await home.fetch("UPDATE user_counts SET following = following - 1 WHERE user_id = $1", ids["a"])


async def test_an_edge_list_is_loaded_both_ways(database: Database, dsns: tuple[str, ...], tmp_path: Path) -> None:
    base = secrets.randbelow(10**12) * 10 + 10**13
    path = write(tmp_path / "graph.csv", "user_a,user_b", [(str(base), str(base + 1)), (str(base + 1), str(base + 2))])
    await load(dsns, EdgeList(path), secrets.token_hex(5))
    ids = await ids_of(database, "gh", [str(base + number) for number in range(3)])
    one, two, three = map(str, range(base, base + 3))
    assert await follows_of(database, ids) == {(one, two), (two, one), (two, three), (three, two)}


async def test_the_service_may_go_on_meanwhile(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    people = [f"u{number}" for number in range(16)]
    edges = list(itertools.permutations(people, 2))
    random.Random(7).shuffle(edges)
    await load(dsns, two_files(tmp_path, prefix, people, []), prefix)
    ids = await ids_of(database, prefix, people)
    blocked: set[Pair] = set()

    async def act(seed: int) -> None:
        chance = random.Random(seed)
        while not importing.done():
            one, other = chance.sample(people, 2)
            action = chance.choice([follow(target_is_private=False), unfollow(), block(until=None)])
            await change_pair(database, ids[one], ids[other], action, NOW)
            blocked.add((one, other))

    importing = asyncio.create_task(load(dsns, two_files(tmp_path, prefix, people, edges), prefix, batch=15))
    await asyncio.gather(importing, *map(act, range(4)))
    await follows_of(database, ids)
    for one, other in blocked:
        [side] = (await fetch_relationships(database, ids[one], [ids[other]])).values()
        assert not ((side.blocks or side.blocked_by) and (side.follows or side.followed_by))


async def test_one_import_runs_at_a_time(dsns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(import_runs._SERVER_SETTINGS, "lock_timeout", "50ms")
    async with open_import(dsns):
        with pytest.raises(AnotherImport):
            async with open_import(dsns):
                pass
    async with open_import(dsns):
        pass


class Command:
    """The command, as a process of its own."""

    def __init__(self, dsns: tuple[str, ...], files: TwoFiles, source: str, folder: Path) -> None:
        self._dsns, self._folder = dsns, folder
        options = ("--source", source, "--batch", "40", "--rejects", str(folder / "rejects.csv"))
        self._argv = ("-m", "storage.import_graph", str(files.users), str(files.follows), *options)

    async def start(self) -> asyncio.subprocess.Process:
        environment = {"KITH_POSTGRES_DSNS": ",".join(self._dsns), "KITH_DATA_DIR": str(self._folder / "data")}
        return await asyncio.create_subprocess_exec(
            sys.executable, *self._argv, cwd=_ROOT, env=os.environ | environment, stdout=asyncio.subprocess.DEVNULL
        )


async def progress(database: Database) -> int:
    return sum([(await cell.fetch(_PROGRESS))[0][0] for cell in database.shards.cells])


async def test_an_import_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    database: Database, dsns: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    chance = random.Random()
    people = [f"u{number}" for number in range(200)]
    edges = list({(one, other) for one, other in (chance.sample(people, 2) for _ in range(650))})
    edges += [("nobody", "u1"), edges[0]]
    command = Command(dsns, two_files(tmp_path, prefix, people, edges), prefix, tmp_path)
    kills = 0
    for mark in sorted(chance.sample(range(1, 1400), 3)):
        process = await command.start()
        while process.returncode is None and await progress(database) < mark:
            await asyncio.sleep(0.002)
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        kills += await process.wait() == -signal.SIGKILL
    assert kills >= 1
    await (await command.start()).wait()
    ids = await ids_of(database, prefix, people)
    assert len(set(ids.values())) == len(people)
    assert await follows_of(database, ids) == set(edges[:-2])
    assert {row["version"] for row in (await rows_of(database, ids.values())).values()} == {1}
    end = len(edges)
    assert (tmp_path / "rejects.csv").read_text().splitlines() == [
        "file,line,reason,row",
        f'follows.csv,{end},unknown follower,"nobody,u1"',
        f'follows.csv,{end + 1},duplicate follow,"{",".join(edges[0])}"',
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "follows.csv"], "none.csv does not exist."),
        (["empty.csv", "follows.csv"], "empty.csv is empty"),
        (["follows.csv", "follows.csv"], "follows.csv lacks the column id, username."),
        (["users.csv"], "give users.csv and follows.csv"),
        (["users.csv", "follows.csv", "--graph", "g.csv"], "give users.csv and follows.csv"),
        (["users.csv", "follows.csv", "--batch", "0"], "--batch lies between"),
    ],
)
def test_misuse_is_one_sentence_and_status_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "follows.csv", "follower_id,followee_id", [])
    (tmp_path / "empty.csv").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["import_graph", *arguments])
    try:
        status = import_graph._run()
    except SystemExit as error:  # how the parser of arguments leaves
        status = int(str(error))
    assert status == 2
    assert said in capsys.readouterr().err
