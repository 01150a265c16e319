"""Carries out under a virtual clock: a whole cluster in one thread, from one seed."""
