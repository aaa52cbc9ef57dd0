"""More time for a better file: candidates are made, coded, decoded and compared. No torch here."""
