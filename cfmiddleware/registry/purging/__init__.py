"""Uploads that nobody finishes, and what failures left: found, and deleted when they are old enough."""
