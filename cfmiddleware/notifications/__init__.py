"""Events of pushes, pulls and deletes, kept in a spool until the endpoints that want them have taken them."""
