"""`python -m regcodec`, for torchrun."""

from regcodec.cli.main import main

main(prog_name="regcodec")
