"""The store: users, tokens, keys, grants, sessions and the audit. It is the only package with SQL.

It makes no decision about access (`authn` and `authz` do), and never gets a session's bytes or a secret in
the clear. Times and ids are arguments; only `watch` and `liveness` have threads of their own.

The SQL is SQLAlchemy Core and portable. The parts for SQLite only are in `sqlite`, those for PostgreSQL only
in `postgresql`.
"""
