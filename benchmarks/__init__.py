"""How fast chainrule is beside its peers: ``python -m benchmarks`` (see README.md in this folder).

Nothing in the library needs this package, and no test times anything. Read in this order: ``workload`` (what a workload
is), ``workloads/mlp.py`` (one of them), ``worker`` (a process that runs one program), ``runner`` (turns, statistics),
``report``.
"""
