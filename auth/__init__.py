"""Access tokens: the verifier that everybody uses, whose keys it trusts, and a development issuer of our own."""
