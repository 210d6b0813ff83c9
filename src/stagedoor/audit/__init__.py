"""The audit: each session with its user, target and end, and each refused login.

This package has no SQL and no files (a `Journal` keeps the events), and decides about no login. Its events
have no secret and no byte of a session.
"""
