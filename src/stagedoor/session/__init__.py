"""The story of one login, from the first parsed byte to the last line of the audit.

`flow` tells it; `connect` finds the shell's address, `registry` knows who is inside, `revoke` decides
who has to leave, `line` says in one log line how it went. No protocol, socket, table or clock
enters here: listeners bring the first, `ports` names the rest.
"""
