"""For every entry of the table, arguments on which its derivative is tested (see test_table.py)."""
