"""The listeners. Each translates its protocol into one call of the flow, and the result back.

Nothing is decided here, and no listener imports another.
"""
