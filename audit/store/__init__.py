"""Where objects lie outside the database."""
