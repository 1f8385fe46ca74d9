"""The schema's history, run by `storage.sql.migrate`.

MySQL commits every DDL statement by itself, so a migration may be cut off between two. Each revision
therefore makes one table or one change, by steps that look first whether they were taken already, and
is recorded by itself: an interrupted migration is run again and goes on.
"""
