"""Measuring codecs on data sets through real files: metrics, anchors, BD-rate, reports."""
