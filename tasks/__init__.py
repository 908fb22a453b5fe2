"""One module per stage: Params, VERSION, run() without Prefect."""
