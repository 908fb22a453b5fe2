"""Names of the states in which a flow run of `animate-shard` ends, beside Prefect's own."""

HELD = "Held"  # a worker of another run has the shard
REFUSED = "Refused"  # a setting that no worker could work with
STOPPED = "Stopped"  # the run goes wrong, and not only in this shard
