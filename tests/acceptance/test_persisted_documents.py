"""Documents by name, the same at every door: kept under their hashes, or in the operator's manifest."""

import dataclasses
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.doors import DOORS, ask_by
from tests.acceptance.main_job import MainJob, run_to_end
from tests.acceptance.operators import serving_production
from tests.acceptance.people import People, claims_of, sign
from tests.acceptance.probes import GRAPHQL, expect_refusal, send, send_json
from tests.acceptance.test_rest import call
from tests.conftest import eventually

TYPENAME: Final = {"data": {"__typename": "Query"}}
TRUSTED: Final = "query Trusted { __typename }"
LIVE: Final = "subscription Live { followReceived { id } }"


def sha256_of(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def name_of(document: str) -> str:
    return f"sha256:{sha256_of(document)}"


def persisted(document: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256_of(document)}}


def fresh() -> str:
    """Make a document that nobody has sent before."""
    return f"query Q{secrets.token_hex(8)} {{ __typename }}"


def codes_of(response: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in response["errors"]]


@pytest.fixture(scope="module")
async def trusting(people_of_one_cell: People, short_folder: Path) -> AsyncIterator[MainJob]:
    """Run a server that runs the documents of a manifest and no others."""
    folder = short_folder / "trusting"
    folder.mkdir()
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({name_of(document): document for document in (TRUSTED, LIVE)}))
    variables = {"KITH_TRUSTED_DOCUMENTS": str(manifest), "KITH_ONLY_TRUSTED": "true"}
    async with serving_production(people_of_one_cell, folder, **variables) as made:
        yield made


@pytest.fixture(scope="module")
async def strict(people_of_one_cell: People, short_folder: Path) -> AsyncIterator[MainJob]:
    """Run a server without a manifest."""
    async with serving_production(people_of_one_cell, short_folder / "strict") as made:
        yield made


@pytest.mark.parametrize("door", DOORS)
async def test_a_document_is_kept_under_its_hash_and_found_at_every_door(people_of_one_cell: People, door: str) -> None:
    job, document = people_of_one_cell.job, fresh()
    missing = await ask_by(door, job, extensions=persisted(document))
    assert codes_of(missing) == ["PERSISTED_QUERY_NOT_FOUND"]
    assert [error["message"] for error in missing["errors"]] == ["PersistedQueryNotFound"]
    assert await ask_by(door, job, query=document, extensions=persisted(document)) == TYPENAME
    for other in DOORS:
        assert await ask_by(other, job, extensions=persisted(document)) == TYPENAME


@pytest.mark.parametrize("door", DOORS)
async def test_a_hash_of_another_document_is_refused_and_keeps_nothing(people_of_one_cell: People, door: str) -> None:
    job, document = people_of_one_cell.job, fresh()
    extensions = persisted(document)
    assert codes_of(await ask_by(door, job, query=fresh(), extensions=extensions)) == ["BAD_REQUEST"]
    assert codes_of(await ask_by(door, job, extensions=extensions)) == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize(
    "document",
    ["{", "{ nothing }", "{ " + " ".join(f"a{n}: __typename" for n in range(31)) + " }"],
    ids=["no document", "unknown field", "beyond a limit"],
)
async def test_what_cannot_be_run_is_never_kept(people_of_one_cell: People, document: str) -> None:
    job, extensions = people_of_one_cell.job, persisted(document)
    assert "errors" in await ask_by("post", job, query=document, extensions=extensions)
    assert codes_of(await ask_by("post", job, extensions=extensions)) == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize(
    "asked",
    [1, "x", [], {}, {"version": 1}, {"version": True, "sha256Hash": "a" * 64}, {"version": 1, "sha256Hash": "A" * 64},
     {"version": 1, "sha256Hash": "../etc"}, {"version": 1, "sha256Hash": ["a"]}, {"version": "1", "sha256Hash": ""}],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("door", DOORS)
async def test_a_malformed_hash_is_a_bad_request(people_of_one_cell: People, door: str, asked: object) -> None:
    response = await ask_by(door, people_of_one_cell.job, extensions={"persistedQuery": asked})
    assert codes_of(response) == ["BAD_REQUEST"]


async def test_a_later_version_is_not_supported(people_of_one_cell: People) -> None:
    extensions = {"persistedQuery": {"version": 2, "sha256Hash": "a" * 64}}
    answer = await send_json(people_of_one_cell.job, GRAPHQL, extensions=extensions)
    expect_refusal(answer, 400, "PERSISTED_QUERY_NOT_SUPPORTED")


async def test_a_mutation_is_no_more_run_by_get_for_being_named(people_of_one_cell: People) -> None:
    document = 'mutation { followUser(input: {userId: "x"}) { userErrors { code } } }'
    job, extensions = people_of_one_cell.job, persisted(document)
    await ask_by("post", job, query=document, extensions=extensions)
    answer = await send(job, method="GET", parameters={"extensions": json.dumps(extensions)})
    expect_refusal(answer, 405)


async def test_another_process_finds_what_one_has_kept(people_of_one_cell: People, strict: MainJob) -> None:
    async def pass_on(document: str) -> dict[str, Any]:
        """Keep a document in one process and ask the other for it; what a busy Redis did not take is sent again."""
        response: dict[str, Any] = {}

        async def is_found() -> bool:
            nonlocal response
            await ask_by("post", people_of_one_cell.job, query=document, extensions=persisted(document))
            response = await ask_by("get", strict, extensions=persisted(document))
            return "errors" not in response or codes_of(response) != ["PERSISTED_QUERY_NOT_FOUND"]

        await eventually(is_found)
        return response

    assert await pass_on(fresh()) == TYPENAME
    # kept by a process that allows it, and refused by one that does not
    assert set(codes_of(await pass_on("{ __schema { description } }"))) == {"INTROSPECTION_DISABLED"}


@pytest.mark.parametrize("door", DOORS)
async def test_the_schema_is_told_at_no_door_and_no_error_suggests_a_name(strict: MainJob, door: str) -> None:
    for query in ("{ __schema { description } }", '{ __type(name: "User") { name } }'):
        assert set(codes_of(await ask_by(door, strict, query=query))) == {"INTROSPECTION_DISABLED"}
    response = await ask_by(door, strict, query="{ mee { id } }")
    assert codes_of(response) == ["GRAPHQL_VALIDATION_FAILED"]
    assert "Did you mean" not in json.dumps(response)


@pytest.mark.parametrize("door", DOORS)
async def test_only_the_documents_of_the_manifest_are_run(trusting: MainJob, door: str) -> None:
    assert await ask_by(door, trusting, documentId=name_of(TRUSTED)) == TYPENAME
    others: list[dict[str, Any]] = [{"documentId": name_of(fresh())}, {"documentId": ""}, {"query": TRUSTED}]
    for fields in [*others, {"query": "{"}]:
        assert codes_of(await ask_by(door, trusting, **fields)) == ["DOCUMENT_NOT_TRUSTED"]
    for fields in ({"query": TRUSTED, "extensions": persisted(TRUSTED)}, {"extensions": persisted(TRUSTED)}):
        assert codes_of(await ask_by(door, trusting, **fields)) == ["PERSISTED_QUERY_NOT_SUPPORTED"]
    both = await ask_by(door, trusting, documentId=name_of(TRUSTED), query=TRUSTED)
    assert codes_of(both) == ["BAD_REQUEST"]


async def test_rest_keeps_its_own_documents(trusting: MainJob, people_of_one_cell: People) -> None:
    now = int(time.time())
    token = sign(people_of_one_cell.key, claims_of(people_of_one_cell.ana.id, exp=now + 600))
    ana = dataclasses.replace(people_of_one_cell.ana, job=trusting, token=token)
    answer = await call(ana, "GET", "/v1/users/star")
    assert (answer.status, answer.json["username"]) == (200, "star")


async def test_a_name_that_is_no_text_is_a_bad_request(people_of_one_cell: People) -> None:
    names: list[object] = [1, [], {}, True]
    for name in names:
        expect_refusal(await send_json(people_of_one_cell.job, GRAPHQL, documentId=name), 400, "BAD_REQUEST")


async def test_a_server_without_a_manifest_knows_no_names(people_of_one_cell: People) -> None:
    for door in DOORS:
        response = await ask_by(door, people_of_one_cell.job, documentId=name_of(TRUSTED))
        assert codes_of(response) == ["DOCUMENT_NOT_TRUSTED"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (None, "cannot be read"),
        ("[]", "is not a JSON object"),
        ("{", "is not JSON"),
        (json.dumps({"sha256:00": TRUSTED}), "belongs under"),
        (json.dumps({name_of(TRUSTED): 1}), "has no text"),
        (json.dumps({name_of("{ nothing }"): "{ nothing }"}), "cannot be run"),
    ],
)
async def test_a_manifest_that_cannot_be_used_stops_the_start(tmp_path: Path, manifest: str | None, said: str) -> None:
    path = tmp_path / "manifest.json"
    if manifest is not None:
        path.write_text(manifest)
    status, _, sentence = await run_to_end(tmp_path / "data", KITH_TRUSTED_DOCUMENTS=str(path))
    assert status == 2
    assert sentence.startswith("kith: The file of KITH_TRUSTED_DOCUMENTS")
    assert said in sentence
    assert sentence.count("\n") == 1


async def test_trusting_nothing_but_an_absent_manifest_stops_the_start(tmp_path: Path) -> None:
    status, _, sentence = await run_to_end(tmp_path, KITH_ONLY_TRUSTED="true")
    assert (status, "set KITH_TRUSTED_DOCUMENTS" in sentence) == (2, True)
