"""Integer networks whose results are the same on every machine (numpy)."""
