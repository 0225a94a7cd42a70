"""Forecasters: networks that see an asset's characteristics over the last L months, or a month's other assets too."""
