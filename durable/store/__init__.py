"""Reads and writes of the durable rows; nobody else writes histories and inboxes.

Every write by a worker is fenced: it names the head, or the lease and the
attempt, that it believes in, and changes nothing when that is no longer so.
"""
