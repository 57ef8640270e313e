"""What import files may look like, and what is said about those that do not."""

import gzip
from pathlib import Path

import pytest

from storage.import_files import (
    Columns,
    EdgeList,
    ImportFileError,
    TwoFiles,
    batched,
    quote_record,
    read_records,
    run_key,
)
from storage.import_rows import FollowRow, Reject, UserRow

COLUMNS = Columns(("id", "name"), ("bio",))
FOLLOWS = b"follower_id,followee_id\n1,2\n"


def write(folder: Path, content: bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
@pytest.mark.parametrize("content", [b"name,id\nana,1\n", b"\xef\xbb\xbfname,id\r\nana,1\r\n", b'"name", id \nana,1'])
def test_columns_stand_in_any_order_and_files_may_be_zipped(tmp_path: Path, content: bytes, name: str) -> None:
    [record] = read_records(write(tmp_path, content, name), COLUMNS)
    assert (record.line, record.values, record.reason) == (2, {"name": "ana", "id": "1"}, None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "rows.csv is empty; its first line has to name the columns."),
        (b"id\n1\n", "rows.csv lacks the column name."),
        (b"id,name,mail,age\n", "rows.csv has the unknown column 'mail', 'age'; known are id, name, bio."),
        (b"id,name,id\n", "rows.csv names a column twice."),
        (b'id,"name\n', "rows.csv has a header that cannot be read: unexpected end of data."),
    ],
)
def test_a_file_without_its_columns_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(ImportFileError) as error:
        list(read_records(write(tmp_path, content), COLUMNS))
    assert str(error.value).endswith(sentence)


def test_a_missing_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match=r"none\.csv does not exist\.$"):
        list(read_records(tmp_path / "none.csv", COLUMNS))
    damaged = write(tmp_path, b"id,name\n" + b"1,ana\n" * 1000, "damaged.csv.gz")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(ImportFileError, match="cannot be read"):
        list(read_records(damaged, COLUMNS))


def test_bad_rows_are_told_of_by_their_first_line_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    content = b'id,name\n1\n\n2,"b\no",3\n4,\xff\xfe\n5,"d"ee\n6,\x00eve\n7,"s\ntar"\n8,"open\n'
    found = list(read_records(write(tmp_path, content), COLUMNS))
    assert [(record.line, record.reason) for record in found] == [
        (2, "wrong number of columns"),
        (4, "wrong number of columns"),
        (6, "not UTF-8"),
        (7, "broken quotes"),
        (8, None),
        (9, None),
        (11, "broken quotes"),
    ]
    assert [quote_record(record) for record in found][1:5] == ['2,"b\no",3', r"4,\xff\xfe", '5,"d"ee', r"6,\x00eve"]


def test_an_edge_list_gives_each_number_once_and_each_pair(tmp_path: Path) -> None:
    graph = EdgeList(write(tmp_path, b"user_a,user_b\n0,7\nx,1\n7,0\n7,12\n3,3\n"))
    users = list(graph.read_users())
    assert [(user.line, user.old_id, user.username, user.display_name) for user in users] == [
        (2, "0", "gh0", "Developer 0"),
        (2, "7", "gh7", "Developer 7"),
        (5, "12", "gh12", "Developer 12"),
    ]
    rejects = [Reject(3, "user_a is not a number"), Reject(6, "self-follow")]
    pairs = [FollowRow(2, "0", "7"), FollowRow(4, "7", "0"), FollowRow(5, "7", "12")]
    assert list(graph.read_follows()) == [pairs[0], rejects[0], pairs[1], pairs[2], rejects[1]]


def test_a_run_is_known_by_what_the_files_hold(tmp_path: Path) -> None:
    users, follows = write(tmp_path, b"id,username\n1,ana\n", "u.csv"), write(tmp_path, FOLLOWS, "f.csv")
    key = run_key(TwoFiles(users, follows), "old")
    assert key == run_key(TwoFiles(write(tmp_path, users.read_bytes(), "other.csv"), follows), "old")
    assert key != run_key(TwoFiles(users, follows), "older")
    users.write_bytes(b"id,username\n1,ana2\n")
    assert key != run_key(TwoFiles(users, follows), "old")


def test_both_files_are_looked_at_before_anything_is_done(tmp_path: Path) -> None:
    files = TwoFiles(write(tmp_path, b"id,username\n", "u.csv"), write(tmp_path, b"follower_id\n", "f.csv"))
    with pytest.raises(ImportFileError, match=r"f\.csv lacks the column followee_id"):
        run_key(files, "old")


def test_rows_come_in_batches_after_those_that_are_done(tmp_path: Path) -> None:
    lines = b"".join(b"%d,ana%d\n" % (number, number) for number in range(7))
    rows = TwoFiles(write(tmp_path, b"id,username\n" + lines), tmp_path).read_users()
    ids = [[row.old_id for row in batch if isinstance(row, UserRow)] for batch in batched(rows, 2, skip=2)]
    assert ids == [["2", "3"], ["4", "5"], ["6"]]
