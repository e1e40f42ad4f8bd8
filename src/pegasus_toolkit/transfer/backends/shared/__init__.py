"""What all protocols share: the story of a file, of a directory, and the runner that carries stories out."""
