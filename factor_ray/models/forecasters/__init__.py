"""Forecasters on a window of months: networks that see an asset's characteristics over the last L months."""
