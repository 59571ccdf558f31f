"""What is wrong with the settings that say what a node wants; doctor's own have to be right."""

from __future__ import annotations

from podwire_node.doctor.finding import Finding, Patient, ok, unused, warn


def settings(patient: Patient) -> Finding:
    """Whether an agent that has them would start, and heed them all."""
    if patient.mistakes:
        return warn(
            "; ".join((*patient.mistakes, *patient.cautions)),
            "an agent does not start with these: `podwire config` shows what is in force",
        )
    if patient.cautions:
        return warn(
            "; ".join(patient.cautions),
            "an agent starts all the same: `podwire config` shows what is in force",
        )
    if not patient.source:
        return unused("no --config: what no agent says itself is a default, or the environment's")
    return ok(f"{patient.source}: every setting can be used")
