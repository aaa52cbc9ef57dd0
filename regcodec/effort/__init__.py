"""Spending more time on an encode for a better file: candidates are made, coded, decoded and compared. No torch here."""
