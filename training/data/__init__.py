"""From a dataset manifest to encoded clips: order, decode, buckets, crops, precomputing."""
