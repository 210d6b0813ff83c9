"""The audit as administrators use it: its chain of digests, and the sinks that it is sent to."""
