"""Data in and out: catalogs, prompts, shards, keys, the object store, records, manifest, gallery.

The only place that knows object paths. Knows nothing of torch, the method or Prefect.
"""
