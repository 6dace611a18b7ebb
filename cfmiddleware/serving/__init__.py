"""gunicorn, and the processes that ``cfmiddleware serve`` runs."""
