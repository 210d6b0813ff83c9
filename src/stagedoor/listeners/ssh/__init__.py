"""The SSH listener: the jump host, the page for logins that name no app, and direct login.

It translates SSH (RFC 4251 to 4254) into calls of the flow, and the results back. It never starts a
process on the gateway's own machine, and makes no access decisions: `authn` identifies users, and
`authz` decides what they may enter. A connection passes through these modules:

    listener                        accepts it, within limits, and reviews it while it is open
    connection, bounds, packets     asyncssh's connection, each a layer on the next
    authentication, pending_keys    identify the user
    router                          passes each channel on: to `jump`, `page` or `direct`
    direct.login, direct.driver     a direct login: one decides, the other acts
"""
