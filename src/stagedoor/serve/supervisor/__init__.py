"""The supervisor owns the sockets and keeps the workers running, as the pure `fleet` decides."""
