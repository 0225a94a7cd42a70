"""The look-ahead audit: whether anything known only later changes what was decided earlier."""

from factor_ray.audit.audit import audit_experiment
from factor_ray.audit.in_run import audit_run
from factor_ray.audit.verdict import Finding, Verdict

__all__ = ["Finding", "Verdict", "audit_experiment", "audit_run"]
