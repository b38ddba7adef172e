"""Rules that find out what is wrong with a workload: one module per mechanism, each pure over a snapshot."""
