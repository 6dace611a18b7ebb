"""Who may do what: checked before a request reaches its resource and before any of its body is read."""
