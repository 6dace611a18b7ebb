"""What the registry remembers of blobs, so that the storage is asked less often."""
