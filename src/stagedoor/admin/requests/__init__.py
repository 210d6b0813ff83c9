"""Requests for access: functions over an opened store, and the service that listeners call."""
