"""Access tokens: the verifier that everybody uses, and in development an issuer with a key pair of its own."""
