"""Where bytes arrive. A listener turns its protocol into one call of the flow, and the outcome back.

Nothing is decided here, and no listener knows another.
"""
