"""Strawberry types, arguments and payloads; the contract is `schema.graphql`, made from them."""
