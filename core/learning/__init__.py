"""From prices to what a model may be trained on: labels, events, weights, splits, scaling; see docs/learning.md.

Everything here takes and gives NumPy arrays and knows no files. A label of row `t` that is decided at row `end` depends
on the returns of the rows `t + 1` to `end`: that is its span, `(t, end]`, for weights as for purging.
"""
