"""Running shells: the caches of a namespace, the start of a shell and its diagnosis, and the lifecycle."""
