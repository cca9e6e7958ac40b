"""The peers, each the way its own users would write a fast training loop.

A baseline takes a network (bench/networks.py), data and starting weights, and offers `run(order)`: one training step
for each row of the index matrix, returning the losses as float64. A full-batch step takes all rows and gathers none.
"""
