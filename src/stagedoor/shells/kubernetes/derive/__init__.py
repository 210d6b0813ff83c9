"""What a shell is made of: its Deployment, and its other objects, out of those of its app. Pure."""
