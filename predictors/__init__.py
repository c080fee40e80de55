"""What a subnet will cost or score before it is built (NumPy, scikit-learn; no torch)."""
