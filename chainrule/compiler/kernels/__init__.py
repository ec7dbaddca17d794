"""Compiled kernels: elementary functions that vectorise, and the store of machine code on disk. All of it needs Numba."""
