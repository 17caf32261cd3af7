"""The strict environment of the tests: what works here works for every user."""

import jax

jax.config.update("jax_platforms", "cpu")
# float64 oracles beside explicit float32 and half-precision inputs.
jax.config.update("jax_enable_x64", True)
# No implicit promotion of dtypes or ranks anywhere in the library.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
