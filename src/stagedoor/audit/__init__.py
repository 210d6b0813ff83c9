"""The audit: who came in, where to, when they left and why; and who was not let in.

What may never enter: SQL and files (a `Journal` keeps the events), a secret, a session's bytes,
and any decision about who may come in.
"""
