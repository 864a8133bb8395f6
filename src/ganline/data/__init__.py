"""The data room: sources, checksums, manifest, prepared arrays and batches."""
