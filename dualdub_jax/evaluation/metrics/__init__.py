"""One module a metric; `dualdub_jax.evaluation.registry` lists them."""
