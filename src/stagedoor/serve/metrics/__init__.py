"""The gateway's metrics: measured in its workers, and added up by the supervisor."""
