"""The wheel and the sdist, as `make package` has built them into `build/package`.

Nothing here imports jaxloss: the checkout is not what is tested.
"""
