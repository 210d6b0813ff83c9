"""The command line: commands parse their arguments, call other packages, and print the results.

No decision is made here: commands call `admin`, `serve` and `client`. `stagedoor tunnel`, which starts with
every ssh, imports only `main`.
"""
