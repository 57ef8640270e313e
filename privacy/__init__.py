"""Who may see or do what. Pure: values in, decision out; whatever goes wrong denies."""
