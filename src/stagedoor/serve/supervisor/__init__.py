"""The supervisor: it owns the sockets, keeps the workers, and decides in a pure `fleet`."""
