"""A container registry over a storage driver: one module for each resource of the protocol."""
