"""`python -m locallearn`."""

from locallearn.cli.main import run

if __name__ == "__main__":
    run()
