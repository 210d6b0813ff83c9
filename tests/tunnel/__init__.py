"""Resumable tunnels: the two implementations of one end, and the parts around them."""
