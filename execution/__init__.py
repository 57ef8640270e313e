"""From a request to a result: documents parsed and validated once, limits, execution, errors without secrets."""
