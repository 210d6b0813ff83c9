"""What an administrator does: users, keys, grants, sessions, shares, recordings, apps, links.

Functions over an opened store. The commands, the home page of the WebShell and the API are skins
over them: none of them changes the store by itself, and every change is audited here.
"""
