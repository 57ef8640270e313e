"""Sign-up as one thing, whatever is killed."""
