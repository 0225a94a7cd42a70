"""Forecasters: networks that see an asset's characteristics over the last L months, or those of a month's other assets too."""
