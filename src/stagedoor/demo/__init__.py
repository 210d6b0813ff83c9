"""What `stagedoor demo` sets up on one machine and shows. Its check is in `acceptance/`.

Only what any installation could do with commands happens here, by the same calls.
"""
