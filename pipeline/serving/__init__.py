"""The HTTP trigger behind server.py: processes that share a listening socket and run prepared reports."""
