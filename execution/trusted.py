"""The manifest of trusted documents: a JSON object from `sha256:` and hash to document, checked whole at the start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphql import GraphQLSchema

from execution.documents import Documents, Prepared
from execution.persisted import TRUSTED_PREFIX, hash_of


class BadManifest(Exception):
    """The manifest cannot be used; the message says what is wrong with it, as the end of a sentence."""


def read_manifest(path: Path, schema: GraphQLSchema, *, introspection: bool) -> Mapping[str, str]:
    """Read a manifest; every document of it must be named by its hash, and be one that the server would run.

    Raises:
        BadManifest: it is not so.
    """
    documents = Documents(schema, introspection=introspection)
    manifest = _read(path)
    for name, document in manifest.items():
        _check(documents, name, document)
    return manifest


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise BadManifest(f"cannot be read ({type(error).__name__})") from error
    except ValueError as error:
        raise BadManifest("is not JSON in UTF-8") from error
    if not isinstance(manifest, dict):
        raise BadManifest("is not a JSON object")
    return manifest


def _check(documents: Documents, name: str, document: object) -> None:
    if not isinstance(document, str):
        raise BadManifest(f"has no text under {name!r}")
    expected = TRUSTED_PREFIX + hash_of(document)
    if name != expected:
        raise BadManifest(f"has a document under {name!r} that belongs under {expected!r}")
    prepared = documents.get(document)
    if not isinstance(prepared, Prepared):
        raise BadManifest(f"has a document under {name!r} that cannot be run: {prepared[0].message}")
