"""The listeners. Each translates its protocol into one call of the flow, and the result back again.

Listeners make no access decisions, and none imports another.
"""
