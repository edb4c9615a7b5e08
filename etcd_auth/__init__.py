"""Keeps the users of an etcd in place, and its authentication on: `python -m etcd_auth`, beside each member."""
