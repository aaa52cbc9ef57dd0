"""regcodec: a learned image codec with real bitstreams. See docs/architecture.md for the rooms."""

__version__ = "0.1.0.dev0"
