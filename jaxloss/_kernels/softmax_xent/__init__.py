"""Rows of logits with a label each: the cross entropy in one reading of the logits."""
