"""Garbage collection while the registry goes on serving: what nothing refers to leaves the storage."""
