"""One session, from the parsed request to its last event in the audit.

`flow` has the steps in their order. `registry` keeps the live sessions, `revoke` decides which of them must
end, `line` makes the log line, and `runs` is for one-off tasks. This package knows no protocol, socket or
table: listeners translate the protocols, and `ports` has the interfaces to the other packages.
"""
