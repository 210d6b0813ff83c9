"""The API's operations as functions over an opened store, for the gateway and for commands at its machine."""
