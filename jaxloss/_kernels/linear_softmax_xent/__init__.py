"""A linear head and the cross entropy of its logits, which are never in memory."""
