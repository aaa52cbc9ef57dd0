"""Training and export (torch, compressai). Nothing outside this room and the command line imports it."""
