"""What one process keeps, and a fork must not share."""
