"""The gateway's metrics, which its workers measure and the supervisor adds up."""
