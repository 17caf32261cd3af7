"""Speed and memory of every loss against its twin in `optax.losses`.

`registry` says what is measured, `inputs` on which arrays, `measure` and `run` how,
and `report` turns committed results into the table of the README.
"""
