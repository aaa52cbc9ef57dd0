"""`python -m regcodec`, for torchrun."""

from regcodec.cli.main import run

run(prog_name="regcodec")
