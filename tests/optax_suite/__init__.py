"""optax's own loss tests, run unmodified against jaxloss.

optax ships its tests inside its wheel. `python -m tests.optax_suite` puts jaxloss's
function in the place of every public name of `optax.losses` and runs them.
"""
