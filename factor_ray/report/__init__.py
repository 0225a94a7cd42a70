"""Tables and figures of a run on one self-contained HTML page."""

from factor_ray.report.page import write_report

__all__ = ["write_report"]
