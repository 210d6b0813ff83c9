"""Administration: users, keys, grants, sessions, shares, recordings, apps and sign-ins.

The functions work on an opened store. The commands, the WebShell and the API call them: none of these
changes the store in another way, and every change is audited here.
"""
