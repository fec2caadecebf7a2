"""What was submitted to a cluster that runs it without the referee: noted by stage, for the next referee to collect."""

from __future__ import annotations

SUBMITTED = "submitted"
"""How the names of such folders begin, in the place of the owner's."""
