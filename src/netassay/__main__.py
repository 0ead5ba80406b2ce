"""python -m netassay does what the command does."""

from netassay.cli import run

if __name__ == "__main__":
    run()
