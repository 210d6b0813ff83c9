"""The SSH listener: the jump host, the page for those who name no app, and the way to direct login.

Translates SSH (RFC 4251 to 4254) into the flow and its outcome back. Nobody ever gets a process on
the gateway's own machine here, and nothing is decided here: who somebody is says `authn`, what they
may enter `authz`. `direct*` serves logins that end here; `seam` is all that the two know of each
other.
"""
