"""One module a metric; `dualdub_jax.evaluation.contracts.registry` lists them."""
