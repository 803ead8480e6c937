"""AUTSL as tensors: files, labels, orders of joints, preprocessing, batches."""
