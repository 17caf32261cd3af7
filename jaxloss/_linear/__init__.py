"""Losses fused with the linear head that makes their logits."""
