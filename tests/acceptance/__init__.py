"""Tests with real workers, a real broker and a real database, which kill and starve them."""
