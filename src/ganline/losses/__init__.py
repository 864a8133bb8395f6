"""Losses: adversarial pairs, gradient penalties, and the objective that orders them into phases."""
