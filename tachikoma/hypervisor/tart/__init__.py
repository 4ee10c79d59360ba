"""Tart, the engine on Apple Silicon: its command line, spoken exactly, with its traps stepped over.

``argv`` writes command lines and ``output`` reads answers (both pure); ``refusals`` turns what
Tart says when it fails into our errors; ``program`` runs it; ``sentinel`` and ``guest_exec`` run
commands in guests; ``engine`` and ``images`` keep the promises of the two ports.
"""
