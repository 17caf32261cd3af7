"""Programs that use jaxloss as its users do, each of which ends with a checked number.

They see only the public names, and JAX as it comes: no x64, ordinary promotion. The
loops of Flax Linen, Equinox and Keras, each held to an accuracy and Keras to the loss,
are in `notebooks/drop_in.ipynb`, which `make notebooks` executes.
"""
