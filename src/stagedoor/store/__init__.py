"""The store: the only place with SQL. Users, tokens, keys, grants, sessions and the audit.

What may never enter: a decision about who may do what (`authn`, `authz`), a session's bytes, a
secret in the clear. Times and ids come in as arguments; only `watch` has a thread of its own.

The SQL is SQLAlchemy Core and portable; all that only SQLite needs is in `sqlite`, and
all that only PostgreSQL needs in `postgresql`.
"""
