"""Which of the processes that share a store live, and what becomes of the sessions of those that died."""
