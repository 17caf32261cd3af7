"""Leaves of the library: types, validation, numerics and reduction."""
