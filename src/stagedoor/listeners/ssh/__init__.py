"""The SSH listener: the jump host, the page for logins that name no app, and direct login.

It translates SSH (RFC 4251 to 4254) into calls of the flow, and the results back. It never starts a
process on the gateway's own machine, and decides nothing: `authn` identifies users, and `authz`
decides what they may enter. The package `direct` serves logins that end at the gateway: read `direct/login`,
which decides, beside `direct/driver`, which acts.
"""
