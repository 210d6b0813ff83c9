"""The store: users, tokens, keys, grants, sessions and the audit. No other package has SQL.

It makes no decision about access (`authn` and `authz` do), and never receives a session's bytes or a secret
in the clear. Times and ids are passed in; only `watch` and `liveness` run threads of their own.

The SQL is portable SQLAlchemy Core. What only SQLite needs is in `sqlite`, what only PostgreSQL needs in
`postgresql`.
"""
