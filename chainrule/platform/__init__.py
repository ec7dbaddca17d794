"""What PyTorch's programs import for machines that this is not: other devices, several machines, compilers.

Everything here can be imported; it answers as PyTorch does on a computer without such a device, and says what to do
instead where it cannot answer. `chainrule.cuda` is `chainrule.platform.cuda`, and so on: see `stand_in.py`.
"""
