"""Web applications for real: servers on a free port, clients, and what came of it."""
