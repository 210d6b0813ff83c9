"""Recordings, as an administrator finds them and as people play them."""
