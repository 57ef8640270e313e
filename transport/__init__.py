"""The front door: bytes in, an operation to run, bytes out; HTTP, WebSocket, the explorer page and health."""
