"""Saved configuration and credentials: cluster, Hub, model store."""
