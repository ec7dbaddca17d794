"""`python -m tests.operators` writes docs/operators.md."""

from .document import write

if __name__ == "__main__":
    write()
