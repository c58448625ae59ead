"""What is read from the features of a backbone; every head is tensors in, tensors out."""
