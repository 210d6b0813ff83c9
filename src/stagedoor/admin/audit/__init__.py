"""The audit as administrators use it: its chain of digests, and the sinks to which it is sent."""
