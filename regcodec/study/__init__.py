"""Experiments of the papers on trained packs and runs: what only a study needs. Loaded by `regcodec study` alone."""
