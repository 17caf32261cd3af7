"""Kernels written by hand, one folder an operation; `op` is what others may import."""
