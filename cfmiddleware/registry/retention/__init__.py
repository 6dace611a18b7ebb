"""Which tags a registry keeps, and which go by themselves."""
