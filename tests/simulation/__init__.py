"""Simulator of sessions: many users, stores, threads, event loops and processes, and many failures.

`simulation.Simulation` is the loop: `plan` chooses each step from a seed, `environment` runs it, and
`outcome_checks` and `session_checks` check the results. `oracle` has the rules for answers, and `calls`
the ways of calling a model, which run in `workers` and `worker_processes`. `make test` runs a few short
simulations, `make soak` runs them until a million requests were sent.
"""
