"""Readers of data sets as they are published, and of a user's own folders."""
