"""Exports: finished videos in the forms that others read, made from the manifest, never read back.

`selection` chooses works, `works` says what is told of each, `target` looks after the place they go
to, `copying` reads and checks files; `videofolder`, `webdataset` and `folder` are the forms.
"""
