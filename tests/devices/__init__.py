"""Tests that need eight devices: `make devices` runs them on virtual ones."""
