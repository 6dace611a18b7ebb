"""Whether the registry can do its work: checks in the background, and who is told of them."""
