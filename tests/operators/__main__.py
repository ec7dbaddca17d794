"""`python -m tests.operators` writes docs/reference/operators.md."""

from .document import write

if __name__ == "__main__":
    write()
