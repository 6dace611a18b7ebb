"""What of a registry's storage is broken, found while the registry goes on and without writing anything."""
