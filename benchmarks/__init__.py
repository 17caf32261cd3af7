"""Accuracy, speed and memory of the losses, beside `optax.losses` and others.

`python -m benchmarks --help` lists the programs. Of the speed of the losses, `registry`
says what is measured, `inputs` on which arrays, `measure` and `run` how. `*_results`
hold what is found and its JSON, `*_report` turn it into Markdown, `*_plot` into a
picture, and `report` puts it into the README. What the kernels are to reach stands in
`kernels_targets`.
"""
