"""Proof that a purge leaves nothing, whatever interrupts it."""
