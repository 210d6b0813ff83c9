"""The audit, which records each session with its user, target and end, and each refused login.

This package contains no SQL and no files (a `Journal` keeps the events), and makes no decisions on logins.
Its events contain no secrets and no bytes of sessions.
"""
