"""CloudFront's own side: what it must be for a configuration, and whether it is."""
