"""Benchmarks of fastnn and its peers: training steps, optimizers, start-up, real data.

Every benchmark checks the answers before it times them, runs the candidates interleaved in one process where that is
possible, and prints the machine, the versions and the thread count with its medians and ratios.
"""
