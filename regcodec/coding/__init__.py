"""Range coding of integer symbols with the pack's frequency tables (constriction)."""
