"""From argv to calls, and from values to what a person or a script reads.

Nothing is decided here: commands call `serve` and `client`. Only `main` is imported for
`stagedoor tunnel`, which starts on every ssh.
"""
