"""Facts on their way beside the request path: outbox → relay → broker → consumers → effects."""
