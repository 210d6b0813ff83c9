"""Recordings: finding and checking them for administrators, and playing them for users."""
