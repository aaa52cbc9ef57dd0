"""The .rgc container: fields, chunks, checksums. Pure Python."""
