"""Studies: many runs compared by rules set before the numbers. Needs the `train` extra; only `cli` imports this room."""
