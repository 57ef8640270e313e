"""The auth service: accounts, credentials, browser sessions and tokens, in a process and a database of its own.

The user service knows nothing of it but its address: it checks the tokens of whichever OpenID provider is set.
"""
