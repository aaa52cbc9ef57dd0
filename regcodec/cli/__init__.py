"""The command line: thin click commands. Heavy imports live inside the command bodies."""
