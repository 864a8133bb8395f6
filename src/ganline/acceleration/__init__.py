"""The same generator, faster and smaller: folded, exported, quantised, decoded step by step, measured."""
