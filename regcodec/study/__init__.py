"""Studies: many runs, compared by rules set before the numbers. Only `cli` imports this room."""
