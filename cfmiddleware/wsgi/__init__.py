"""What the WSGI apps of this package have in common."""
