"""Hooks: messages about access requests to chats, mail and programs."""
