"""What a client may do: checked before a request reaches its resource and before its body is read."""
