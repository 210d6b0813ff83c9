"""The course of one session, from the parsed request to the last event in the audit.

`flow` has the steps in their order. `connect` finds the shell's address, `registry` keeps the live
sessions, `revoke` decides which of them must end, and `line` makes the log line. No protocol,
socket, table or clock enters this package: listeners translate the protocols, and `ports` names
the rest.
"""
