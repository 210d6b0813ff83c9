"""The client programs for a developer's laptop that has only ssh and Python 3.8.

A gateway serves this folder as one file (`onefile`). So its modules import only the standard library, each
other, and the modules that `onefile` names. The programs that need the installed package are in `client`.
"""
