"""The recipes for training supernets, compared at equal cost on CIFAR-10."""
