"""What is remembered, under every order of things: seeded interleavings, faults, and a comparison with the database."""
