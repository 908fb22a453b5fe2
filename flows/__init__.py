"""Which work, in which order: Prefect flows and the `epa` command line. No tensors."""
