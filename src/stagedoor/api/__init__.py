"""The API's operations as functions over an opened store, for the gateway and commands on its machine."""
