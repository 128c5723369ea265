"""Takes turns: feeds replay from the rows and stores its answer."""
