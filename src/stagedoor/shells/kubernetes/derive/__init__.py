"""The derivation of a shell's Deployment and other objects from its app's Deployment or StatefulSet. Pure."""
