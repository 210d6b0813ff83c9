"""What `stagedoor demo` sets up on one machine, shows, and with `--check` drives and judges.

Only what any installation could do with commands happens here, by the same calls.
"""
