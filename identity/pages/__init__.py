"""The pages: small, rendered here, and working without scripts, except for passkeys."""
