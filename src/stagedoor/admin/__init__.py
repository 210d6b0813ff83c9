"""Administration: users, keys, grants, sessions, shares, recordings, apps and sign-ins.

The functions work on an opened store. The commands, the WebShell and the API change the store only through
them, and every change is audited here.
"""
